package extraction

import "testing"

func TestFileTypeIsTheExtensionOrTheName(t *testing.T) {
	for path, want := range map[string]string{
		"src/a.js": "js", "README.MD": "md", "a.tar.gz": "gz", "Makefile": "Makefile", "src/Dockerfile": "Dockerfile",
		".env": ".env", ".env.local": ".env", "config/dev.env": "env", ".gitignore": ".gitignore", ".eslintrc.json": "json",
		"a.": "a.", "src/": "", "": "", ".": "", "~": "", `src\a.ts`: "ts", "notes.from my desk": "notes.from my desk",
		"a.c++": "c++", "dir.d/file": "file",
	} {
		if got := FileType(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestProtectedPathsHaveTheirClass(t *testing.T) {
	for class, paths := range map[string][]string{
		ClassCI: {".github/workflows/ci.yml", ".github/actions/x/action.yml", ".gitlab-ci.yml", "ci/base.gitlab-ci.yml",
			"Jenkinsfile", "Jenkinsfile.release", "Jenkinsfile.groovy", ".circleci/config.yml", "azure-pipelines.yml", "web/.travis.yml", ".husky/pre-commit",
			".git/hooks/pre-push", ".github/CODEOWNERS", ".pre-commit-config.yaml", ".buildkite/pipeline.yml"},
		ClassAgentSettings: {".claude/settings.json", ".claude/settings.local.json", "~/.claude/settings.json",
			".claude/hooks/deny.sh", ".mcp.json", "~/.claude.json", "/etc/claude-code/managed-settings.json",
			"/etc/claude-code/managed-settings.d/10-hooks.json", ".claude-plugin/plugin.json", ".cursor/mcp.json", "~/.codex/config.toml"},
		ClassAgentInstructions: {"CLAUDE.md", "web/CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", ".cursorrules",
			".claude/commands/fix.md", ".claude/skills/x/SKILL.md", ".cursor/rules/a.mdc", ".github/copilot-instructions.md"},
		ClassLockFile: {"go.sum", "package-lock.json", "web/yarn.lock", "pnpm-lock.yaml", "Cargo.lock", "poetry.lock", "uv.lock"},
		ClassInfrastructure: {"Dockerfile", "Dockerfile.dev", "Dockerfile.prod", "Dockerfile.test", "api.dockerfile", "api.Dockerfile", "docker-compose.yml", "docker-compose.prod.yaml", "compose.yaml",
			"infra/main.tf", "prod.tfvars", "charts/web/values.yaml", "k8s/web.yaml", "deploy/kustomization.yaml", "terraform/x.hcl"},
		ClassSecrets: {".env", ".env.production", "config/dev.env", "server.pem", "tls/server.key", "~/.ssh/id_rsa", "~/.ssh/config",
			"id_ed25519", "~/.aws/credentials", ".netrc", ".npmrc", "k8s/secrets.yaml", "~/.kube/config", "service-account-prod.json"},
		"": {"src/a.js", ".env.example", ".env.sample", "src/environment.ts", "docs/claude.txt", ".claude/todos/1.json", ".claude/plans/x.md",
			"src/workflows/ci.yml", "github/workflows/ci.yml", "pkg/kubernetes/client.go", "src/infra/cache.ts", "lock.go", "src/hooks/use.ts",
			"keys.go", "src/secrets.go", "id_rsa.pub", "Dockerfiles.md", "Dockerfile.md", "Dockerfile.log", "src/Dockerfile.ts", "Dockerfile.test.js",
			"__snapshots__/Dockerfile.snap", "src/Jenkinsfile.test.groovy", "src/settings.json", "", "."},
	} {
		for _, path := range paths {
			if got := ProtectedClass(path); got != class {
				t.Errorf("%s: got %q, want %q", path, got, class)
			}
		}
	}
}
