package extraction

import (
	"path"
	"strings"
)

// Classes of protected paths (DESIGN §7).
const (
	ClassCI                = "ci"
	ClassAgentSettings     = "agent_settings"
	ClassAgentInstructions = "agent_instructions"
	ClassLockFile          = "lock_file"
	ClassInfrastructure    = "infrastructure"
	ClassSecrets           = "secrets"
)

// FileType is the extension of a file in lower case without its dot, or the
// name of a file without one (Makefile, .env, also for .env.local); "" for a
// folder or an empty path.
func FileType(name string) string {
	base := baseName(name)
	if base == "" || base == "." || base == ".." || base == "~" || strings.HasSuffix(name, "/") {
		return ""
	}
	if isEnvFile(strings.ToLower(base)) && base[0] == '.' {
		return ".env"
	}
	ext := path.Ext(base)
	if ext == base || len(ext) < 2 || len(ext) > 17 {
		return base
	}
	for i := 1; i < len(ext); i++ {
		if c := ext[i]; !isAlnum(c) && c != '_' && c != '+' && c != '-' {
			return base
		}
	}
	return strings.ToLower(ext[1:])
}

// baseName is the last element of a path with either separator.
func baseName(name string) string {
	name = strings.TrimRight(name, `/\`)
	return name[strings.LastIndexAny(name, `/\`)+1:]
}

// ProtectedClass is the class of a protected path, "" for any other. It takes
// paths as [Place.Path] makes them (relative, ~/..., absolute) and does not
// regard case, as macOS and Windows do not. Where several classes fit, the
// graver one counts: secrets, agent_settings, agent_instructions, ci,
// infrastructure, lock_file.
func ProtectedClass(relPath string) string {
	name := strings.ToLower(strings.ReplaceAll(relPath, `\`, "/"))
	base := path.Base(name)
	if name == "" || base == "." {
		return ""
	}
	dirs := "/" + strings.TrimPrefix(strings.TrimSuffix(name, base), "/")
	for _, class := range protected {
		if class.names[base] || class.file != nil && class.file(base) {
			return class.name
		}
		for _, dir := range class.folders {
			if at := strings.Index(dirs, "/"+dir+"/"); at >= 0 {
				if class.inside == nil || class.inside(dir, base) {
					return class.name
				}
			}
		}
		for _, tail := range class.tails {
			if strings.HasSuffix("/"+name, "/"+tail) {
				return class.name
			}
		}
	}
	return ""
}

// protected are the classes in the order of gravity.
var protected = []struct {
	name    string
	names   map[string]bool                // base names
	file    func(base string) bool         // other base names
	folders []string                       // everything below these folders,
	inside  func(folder, base string) bool // or what of it
	tails   []string                       // ends of paths
}{
	{
		name: ClassSecrets,
		names: set(`.netrc _netrc .npmrc .pypirc .pgpass .git-credentials .htpasswd .vault-token .dockercfg .envrc
			id_rsa id_dsa id_ecdsa id_ed25519 credentials.json credentials.yml.enc master.key kubeconfig
			secrets.yml secrets.yaml secrets.json secrets.toml secret.yml secret.yaml secret.json`),
		file:    isSecretFile,
		folders: []string{".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".secrets"},
		tails:   []string{".kube/config", ".docker/config.json", ".config/gh/hosts.yml", ".claude/.credentials.json", "etc/shadow"},
	},
	{
		name: ClassAgentSettings,
		names: set(`.mcp.json .claude.json managed-settings.json managed-mcp.json opencode.json opencode.jsonc
			.aider.conf.yml claude_desktop_config.json`),
		folders: []string{".claude", ".claude/hooks", ".claude-plugin", "managed-settings.d"},
		inside: func(folder, base string) bool {
			return folder != ".claude" || strings.HasPrefix(base, "settings") && strings.HasSuffix(base, ".json")
		},
		tails: []string{".cursor/mcp.json", ".cursor/hooks.json", ".cursor/cli.json", ".codex/config.toml",
			".codex/hooks.json", ".gemini/settings.json", ".vscode/mcp.json", ".copilot/mcp-config.json",
			".github/hooks/hooks.json", "hooks/hooks.json"},
	},
	{
		name: ClassAgentInstructions,
		names: set(`claude.md claude.local.md agents.md agents.override.md gemini.md .cursorrules .windsurfrules
			.clinerules .goosehints copilot-instructions.md skill.md`),
		folders: []string{".claude/commands", ".claude/agents", ".claude/skills", ".claude/rules",
			".claude/output-styles", ".cursor/rules", ".windsurf/rules", ".clinerules", ".github/instructions",
			".github/prompts", ".github/chatmodes", ".codex/prompts"},
	},
	{
		name: ClassCI,
		names: set(`.gitlab-ci.yml .gitlab-ci.yaml .travis.yml .drone.yml .cirrus.yml .woodpecker.yml appveyor.yml
			.appveyor.yml azure-pipelines.yml azure-pipelines.yaml bitbucket-pipelines.yml buildspec.yml
			buildspec.yaml cloudbuild.yml cloudbuild.yaml jenkinsfile codeowners .pre-commit-config.yaml
			lefthook.yml lefthook.yaml`),
		file: func(base string) bool {
			return variant(base, "jenkinsfile.") || strings.HasSuffix(base, ".jenkinsfile") ||
				strings.HasSuffix(base, ".gitlab-ci.yml")
		},
		folders: []string{".github/workflows", ".ci", ".github/actions", ".gitlab/ci", ".circleci", ".buildkite",
			".azure-pipelines", ".teamcity", ".semaphore", ".woodpecker", ".tekton", ".husky", ".git/hooks",
			".gitea/workflows", ".forgejo/workflows"},
		tails: []string{".github/dependabot.yml", ".github/dependabot.yaml"},
	},
	{
		name: ClassInfrastructure,
		names: set(`dockerfile containerfile compose.yml compose.yaml chart.yaml kustomization.yaml kustomization.yml
			helmfile.yaml skaffold.yaml terragrunt.hcl vagrantfile serverless.yml serverless.yaml cdk.json fly.toml
			render.yaml procfile ansible.cfg`),
		file: isInfrastructureFile,
		folders: []string{"k8s", "kubernetes", "helm", "charts", "manifests", "terraform", "ansible", "infra",
			"infrastructure", "cloudformation"},
		inside: func(_, base string) bool {
			switch path.Ext(base) {
			case ".yaml", ".yml", ".tpl", ".json", ".hcl", ".j2", ".toml":
				return true
			}
			return false
		},
	},
	{
		name: ClassLockFile,
		names: set(`go.sum go.work.sum package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb
			deno.lock cargo.lock poetry.lock uv.lock pdm.lock pipfile.lock composer.lock gemfile.lock mix.lock
			pubspec.lock podfile.lock package.resolved cartfile.resolved packages.lock.json paket.lock
			gradle.lockfile flake.lock conan.lock .terraform.lock.hcl module.bazel.lock`),
	},
}

func isSecretFile(base string) bool {
	switch path.Ext(base) {
	case ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk":
		return true
	}
	return isEnvFile(base) ||
		strings.HasPrefix(base, "service-account") && strings.HasSuffix(base, ".json")
}

// isEnvFile tells .env, .env.local, dev.env, but not the examples that
// repositories hold for people to copy.
func isEnvFile(base string) bool {
	if rest, ok := strings.CutPrefix(base, ".env."); ok {
		switch rest {
		case "example", "sample", "template", "dist", "defaults", "schema", "test.example":
			return false
		}
		return true
	}
	return base == ".env" || strings.HasSuffix(base, ".env")
}

func isInfrastructureFile(base string) bool {
	switch path.Ext(base) {
	case ".tf", ".tfvars", ".tfstate", ".bicep", ".dockerfile":
		return true
	}
	compose := strings.HasPrefix(base, "docker-compose") || strings.HasPrefix(base, "compose.")
	yaml := strings.HasSuffix(base, ".yml") || strings.HasSuffix(base, ".yaml")
	return variant(base, "dockerfile.") || strings.HasSuffix(base, ".tf.json") ||
		compose && yaml || strings.HasPrefix(base, "pulumi.") && yaml
}

// variant tells Dockerfile.dev, but not texts, sources and tests that are called
// after such a file.
func variant(base, prefix string) bool {
	rest, ok := strings.CutPrefix(base, prefix)
	if !ok || strings.HasPrefix(rest, "test.") || strings.HasPrefix(rest, "spec.") || strings.Contains(rest, ".test.") || strings.Contains(rest, ".spec.") {
		return false
	}
	switch path.Ext(base) {
	case ".md", ".mdx", ".markdown", ".rst", ".txt", ".adoc", ".html", ".log", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".snap":
		return false
	}
	return true
}
