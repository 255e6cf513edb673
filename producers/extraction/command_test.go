package extraction

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommandNamesTheMostTellingCommandOfALine(t *testing.T) {
	for command, want := range map[string]string{
		"npm test":                               "test: npm test",
		"npm t -- --watch=false":                 "test: npm t",
		"npm run test:unit":                      "test: npm run",
		"npm run build":                          "build: npm run",
		"npm run tset":                           "package_manager: npm run",
		"nmp test":                               "other: nmp",
		"yarn lint":                              "lint: yarn lint",
		"yarn e2e":                               "test: yarn",
		"yarn":                                   "install: yarn",
		"pnpm --filter web test":                 "test: pnpm test",
		"npx jest src/price.test.js":             "test: jest",
		"npx --yes playwright test":              "test: playwright test",
		"node --test test/":                      "test: node",
		"node test/price.test.js":                "test: node",
		"node scripts/wait.mjs":                  "interpreter: node",
		"node -e 'require(\"./test\")'":          "interpreter: node",
		"go test ./... 2>&1 | tail -5":           "test: go test",
		"go build ./... && go vet ./...":         "build: go build",
		"go vet ./...":                           "lint: go vet",
		"cargo +nightly test --all":              "test: cargo test",
		"cargo test --no-run":                    "read: cargo test",
		"python3.12 -m pytest -q":                "test: pytest",
		"python -m pip install -r req.txt":       "install: pip install",
		"python manage.py test shop":             "test: python",
		"python -c 'import test'":                "interpreter: python",
		"./gradlew :app:testDebugUnitTest":       "test: gradle",
		"mvn -q verify":                          "test: mvn verify",
		"make":                                   "build: make",
		"make clean test":                        "test: make test",
		"ssh -i key host -- npm test":            "test: npm test",
		"mise x node@20 -- npm test":             "test: npm test",
		"ctest -V":                               "test: ctest",
		"make -C test build":                     "build: make build",
		"vendor/bin/phpunit --filter Price":      "test: phpunit",
		"./scripts/run-tests.sh":                 "test: run-tests.sh",
		"./deploy.sh prod":                       "interpreter: deploy.sh",
		"bash scripts/build.sh":                  "build: bash",
		"git add -A && git commit -qm x":         "vcs: git commit",
		"git -C /srv/shop -c user.name=x commit": "vcs: git commit",
		"git status --short":                     "vcs: git status",
		"git grep -n tax":                        "search: git grep",
		"gh pr create --fill":                    "vcs: gh pr create",
		"cd /tmp && ls -la":                      "read: ls",
		"cat README.md | grep -c tax":            "search: grep",
		"rm -rf dist && npm run build":           "build: npm run",
		"rm -rf dist coverage":                   "delete: rm",
		"find . -name '*.tmp' -delete":           "delete: find",
		"find . -name '*.js' -exec rm {} +":      "delete: rm",
		"echo x > notes.md":                      "write: echo",
		"echo x":                                 "other: echo",
		"sed -n 1,20p a.js":                      "read: sed",
		"sed -i s/a/b/ a.js":                     "write: sed",
		"prettier --write src":                   "format: prettier",
		"golangci-lint run":                      "lint: golangci-lint run",
		"docker compose -f dev.yml up -d":        "container: docker compose up",
		"kubectl -n shop delete pod web-1":       "infrastructure: kubectl delete",
		"terraform apply -auto-approve":          "infrastructure: terraform apply",
		"psql -c 'drop table users'":             "database: psql",
		"curl -s https://example.com":            "network: curl",
		"sudo -u postgres psql":                  "database: psql",
		"env -u CI FOO=bar timeout 60 npm test":  "test: npm test",
		"time npm test":                          "test: npm test",
		"bash -lc 'cd web && npm test'":          "test: npm test",
		"eval 'npm test'":                        "test: npm test",
		"(cd web; npm test) || true":             "test: npm test",
		"if ! npm test; then echo red; fi":       "test: npm test",
		"X=$(npm test 2>&1); echo \"$X\"":        "test: npm test",
		"ls | xargs -n 1 eslint":                 "lint: eslint",
		"command -v node":                        "search: which",
		"env | sort":                             "read: env",
		"$CMD --flag":                            "other: ",
		"":                                       "other: ",
		// what changes the world
		"terraform init && terraform apply -auto-approve":             "infrastructure: terraform apply",
		"terraform apply && terraform output":                         "infrastructure: terraform apply",
		"terraform plan && terraform apply -help":                     "infrastructure: terraform plan",
		"helm repo update && helm upgrade web ./web":                  "infrastructure: helm upgrade",
		"helm upgrade --dry-run web . ; helm list":                    "infrastructure: helm upgrade",
		"helm list; helm upgrade --dry-run web .":                     "infrastructure: helm list",
		"kubectl config use-context x && kubectl apply -f a.yml":      "infrastructure: kubectl apply",
		"kubectl apply -f a.yml && kubectl rollout status deploy/web": "infrastructure: kubectl apply",
		"kubectl get pods; kubectl apply --dry-run=client -f a.yml":   "infrastructure: kubectl get",
		"kustomize build . | kubectl apply -f -":                      "infrastructure: kubectl apply",
		"docker build -t x . && docker push x":                        "container: docker push",
		"npm version patch && npm publish":                            "package_manager: npm publish",
		"git push && npm publish":                                     "package_manager: npm publish",
		"npm publish --dry-run && npm version":                        "package_manager: npm publish",
		"git status && npm publish --dry-run":                         "vcs: git status",
		"npm publish && git push --tags":                              "package_manager: npm publish",
		"npm run build && npm publish":                                "build: npm run",
		"git commit -qm x && git push":                                "vcs: git commit",
		"git push && git commit -qm x":                                "vcs: git push",
		"git push -n && git commit -qm x":                             "vcs: git commit",
		"aws-vault exec p -- terraform apply":                         "infrastructure: terraform apply",
		"ssh prod 'docker compose pull && kubectl apply -f a.yml'":    "infrastructure: kubectl apply",
		// no test is run
		"go test -c ./pkg":                   "build: go test",
		"go test -list=. ./...":              "read: go test",
		"./gradlew build -x test":            "build: gradle build",
		"./gradlew test -x lint":             "test: gradle test",
		"./gradlew test -m":                  "read: gradle test",
		"make -n test":                       "read: make test",
		"make -sn test":                      "read: make test",
		"make -j4 test":                      "test: make test",
		"make -k test":                       "test: make test",
		"npm test -- --listTests":            "read: npm test",
		"pytest --collect-only -q":           "read: pytest",
		"npx jest --version":                 "read: jest",
		"python -m pytest --version":         "read: pytest",
		"pytest -n 4":                        "test: pytest",
		"npm run test -- --listTests":        "read: npm run",
		"docker compose run web pytest --co": "container: docker compose run",
		"pytest -c ci.ini":                   "test: pytest",
		// inside wrappers, containers and other machines
		"docker compose run --rm -e CI=1 web npm test":                     "test: npm test",
		"docker compose -f dev.yml exec -T web bundle exec rspec":          "test: rspec",
		"docker-compose exec api pytest -q":                                "test: pytest",
		"docker exec -it -w /app web npm test":                             "test: npm test",
		"docker run --rm -v $PWD:/app -w /app node:20 npm test":            "test: npm test",
		"docker run --rm -it golang:1.24 sh -c 'cd /app && go test ./...'": "test: go test",
		"docker run --rm --entrypoint npm app test":                        "test: npm test",
		"podman run --rm img cargo test":                                   "test: cargo test",
		"docker run -d -p 80:80 test":                                      "container: docker run",
		"docker run --name test nginx":                                     "container: docker run",
		"docker build -t test .":                                           "container: docker build",
		"docker exec db psql -c 'select 1'":                                "container: docker exec",
		"kubectl -n shop exec -it web-1 -- npm test":                       "test: npm test",
		"kubectl exec web-1 -- ls test":                                    "infrastructure: kubectl exec",
		"ssh -p 2222 ci@host 'cd shop && npm test'":                        "test: npm test",
		"ssh host rm -rf /srv/x":                                           "network: ssh",
		"ssh host <<'EOF'\nnpm test\nEOF":                                  "test: npm test",
		"nix develop .#ci -c npm test":                                     "test: npm test",
		"nix develop":                                                      "other: nix",
		"nix-shell --run 'pytest -q'":                                      "test: pytest",
		"xvfb-run -a npx cypress run":                                      "test: cypress run",
		"firebase emulators:exec --only firestore \"npm test\"":            "test: npm test",
		"yarn workspace api test":                                          "test: yarn test",
		"yarn workspace api add x":                                         "network_install: yarn add",
		"pdm run test":                                                     "test: pdm run",
		"pdm run pytest":                                                   "test: pytest",
		"hatch run lint":                                                   "lint: hatch run",
		"uv run --frozen --extra dev pytest -q":                            "test: pytest",
		"poetry run pytest":                                                "test: pytest",
		"coverage run --source src -m pytest":                              "test: pytest",
		"python -m coverage run -m unittest":                               "test: unittest",
		"coverage run manage.py test":                                      "test: python",
		"coverage report":                                                  "read: coverage report",
		"mise run test":                                                    "test: mise run",
		"mise run dev":                                                     "package_manager: mise run",
		"devbox run test":                                                  "test: devbox run",
		"devbox run -- npm test":                                           "test: npm test",
		"aws-vault exec dev -- npm test":                                   "test: npm test",
		"op run --env-file .env -- npm test":                               "test: npm test",
		"dotenv -e .env -- npm test":                                       "test: npm test",
		"dotenv run npm test":                                              "test: npm test",
	} {
		facts := Command(command, "/home/dev/shop")
		if got := facts.Class + ": " + facts.Target; got != want {
			t.Errorf("%s\n got %s\nwant %s", command, got, want)
		}
		if facts.Test != strings.HasPrefix(want, "test:") {
			t.Errorf("%s: Test is %v", command, facts.Test)
		}
	}
}

func TestATargetNeverHoldsAnArgument(t *testing.T) {
	for _, command := range []string{
		"git hunter2", "npm hunter2", "kubectl --token hunter2 get pods", "hunter2=1 git status",
		"env PASSWORD=hunter2 curl https://user:hunter2@example.com", "docker login -p hunter2", "'hunter2 is my password'",
		"gh pr hunter2", "make hunter2", "aws --profile hunter2 s3 ls", "'a;hunter2'", "npx -p hunter2 jest",
		"git commit -m hunter2", "psql postgres://shop:hunter2@db/shop",
	} {
		if target := Command(command, "").Target; strings.Contains(target, "hunter2") {
			t.Errorf("%s: target %q", command, target)
		}
	}
}

func TestCommandFindsWhatItWrites(t *testing.T) {
	for command, want := range map[string]string{
		"echo a > x; echo b >> y; echo c >| z; make &> log": "unknown w/x, update w/y, unknown w/z, unknown w/log",
		"cat > src/a.js <<'EOF'\nrm b.js\nEOF":              "unknown w/src/a.js",
		"cmd 2>/dev/null >&2 < in.txt":                      "",
		"cmd 2> err.log":                                    "unknown w/err.log",
		"echo x | tee a b":                                  "unknown w/a, unknown w/b",
		"echo x | sudo tee -a /etc/hosts":                   "update /etc/hosts",
		"sed -i 's/a/b/' a.js b.js":                         "update w/a.js, update w/b.js",
		"sed -i.bak -e s/a/b/ -e s/c/d/ a.js":               "update w/a.js",
		"sed -i '' 's/a/b/' a.js":                           "update w/a.js",
		"sed -ni --expression=p a.js":                       "update w/a.js",
		"sed 's/a/b/' a.js":                                 "",
		"perl -pi -e 's/a/b/' a.js":                         "update w/a.js",
		"perl -i.orig -pe 's/a/b/' a.js":                    "update w/a.js",
		"perl -ne 'print' a.js":                             "",
		"cp a.js b.js":                                      "unknown w/b.js",
		"cp a.js src/b.js lib/":                             "unknown w/lib/a.js, unknown w/lib/b.js",
		"cp -t lib a.js":                                    "unknown w/lib/a.js",
		"mv src/a.js src/b.js":                              "delete w/src/a.js, unknown w/src/b.js",
		"install -m 755 hook .git/hooks/pre-commit":         "unknown w/.git/hooks/pre-commit",
		"install -d out":                                    "",
		"ln -sf ../a b":                                     "create w/b",
		"rm -f a b; unlink c; rmdir d":                      "delete w/a, delete w/b, delete w/c, delete w/d",
		"touch -d yesterday a":                              "create w/a",
		"truncate -s 0 a.log":                               "update w/a.log",
		"dd if=/dev/zero of=disk.img bs=1M":                 "unknown w/disk.img",
		"git checkout -- a.js":                              "update w/a.js",
		"git checkout main":                                 "",
		"git restore -s HEAD~1 a.js":                        "update w/a.js",
		"git restore --staged -s HEAD~1 a.js":               "",
		"git restore -SW a.js":                              "update w/a.js",
		"git rm -r old":                                     "delete w/old",
		"git rm --cached .env":                              "",
		"git mv a b":                                        "delete w/a, unknown w/b",
		"patch -p1 src/a.js < fix.patch":                    "update w/src/a.js",
		"git apply <<'EOF'\n--- a/src/a.js\n+++ b/src/a.js\n@@\n-x\n+y\n--- /dev/null\n+++ b/new.js\n--- a/old.js\n+++ /dev/null\nEOF": "update w/src/a.js, create w/new.js, delete w/old.js",
		"apply_patch <<'EOF'\n*** Update File: a.py\n*** Add File: b.py\nEOF":                                                          "update w/a.py, create w/b.py",
		"curl -fsSLo tool.sh https://example.com/t":                                                                                    "unknown w/tool.sh",
		"curl -s https://example.com":                                                                                                  "",
		"chmod 777 .env":                                                                                                               "",
		"mkdir -p .github/workflows":                                                                                                   "",
		"cd .github && cp ../ci.yml workflows/ci.yml":                                                                                  "unknown w/.github/workflows/ci.yml",
		"cd /srv && (cd app && touch a) && touch b":                                                                                    "create /srv/app/a, create /srv/b",
		"cd $(git rev-parse --show-toplevel) && rm .github/x.yml":                                                                      "delete .github/x.yml",
		"echo a >> ~/.bashrc; echo b >> \"$HOME/.zshrc\"":                                                                              "update ~/.bashrc, update ~/.zshrc",
		"D=.github/workflows; sed -i s/a/b/ \"$D/ci.yml\"":                                                                             "update w/.github/workflows/ci.yml",
		"export D=out; touch $D/a":                                                                                                     "create w/out/a",
		"for f in a.js b.js; do sed -i s/x/y/ $f; done":                                                                                "update w/a.js, update w/b.js",
		"rm $FILE; rm *.js; rm {a,b}.js; rm \"$(cat list)\"":                                                                           "",
		"rm 'with space.js' \"a*b\" c\\ d":                                                                                             "delete w/with space.js, delete w/a*b, delete w/c d",
		"bash -c 'cd sub; echo x > y'; echo z > z":                                                                                     "unknown w/sub/y, unknown w/z",
		"env A=1 sudo -E rm -rf build":                                                                                                 "delete w/build",
		"ls *.o | xargs rm -f extra.o":                                                                                                 "delete w/extra.o",
		"f() { echo x > in-function; }; f":                                                                                             "unknown w/in-function",
		"{ echo a; echo b; } > both":                                                                                                   "unknown w/both",
		"while read l; do echo $l; done > lines":                                                                                       "unknown w/lines",
		"diff <(sort a) <(sort b > c)":                                                                                                 "unknown w/c",
		"bash <<'EOF'\nrm gone\nEOF":                                                                                                   "delete w/gone",
		"cat <<'EOF' | git apply -\n+++ b/x\nEOF":                                                                                      "update w/x",
		"echo x > ../other/y":                                                                                                          "unknown /home/dev/other/y",
		"rm " + strings.Repeat("same ", 50):                                                                                            "delete w/same",
		"docker exec web sh -c 'echo x > a; rm b'":                                                                                     "",
		"ssh host 'rm a; curl -o b https://x.example/b'":                                                                               "",
		"kubectl exec p -- rm a":                                                                                                       "",
		"docker compose run web npm test > out.log":                                                                                    "unknown w/out.log",
		"nix-shell --run 'rm a'":                                                                                                       "delete w/a",
		"cp a b c d $UNKNOWN":                                                                                                          "",
		"echo x > $(pwd)/here":                                                                                                         "unknown w/here",
		"timeout 5 bash -c \"sudo -u root bash -c 'rm deep'\"":                                                                         "delete w/deep",
		"case $1 in a) rm one;; *) rm two;; esac":                                                                                      "delete w/one, delete w/two",
		"[[ -f a ]] && rm a || touch a":                                                                                                "delete w/a, create w/a",
		"git restore .github/workflows/ci.yml && npm test > report.txt":                                                                "update w/.github/workflows/ci.yml, unknown w/report.txt",
	} {
		var got []string
		for _, w := range Command(command, "/home/dev/shop").Writes {
			got = append(got, w.Operation+" "+strings.Replace(w.Path, "/home/dev/shop/", "w/", 1))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s\n got %s\nwant %s", command, strings.Join(got, ", "), want)
		}
	}
}

func TestWritesStayAsWrittenWhereTheFolderIsNotKnown(t *testing.T) {
	if got := Command("rm a/../b; rm /c", "").Writes; !slices.Equal(got, []Write{{"b", "delete", true}, {"/c", "delete", true}}) {
		t.Errorf("got %v", got)
	}
}

func TestWritesOnWindowsResolveAgainstTheDrive(t *testing.T) {
	if got := Command("rm a.js", `C:\Users\anna\shop`).Writes; !slices.Equal(got, []Write{{"C:/Users/anna/shop/a.js", "delete", true}}) {
		t.Errorf("got %v", got)
	}
}

func TestAtMost32WritesAreKept(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "rm f%d; ", i)
	}
	if got := Command(b.String(), "/w").Writes; len(got) != 32 {
		t.Errorf("got %d", len(got))
	}
}

func TestInstallsFromTheNetworkAreTold(t *testing.T) {
	for _, command := range []string{
		"npm install left-pad", "npm i -D typescript", "yarn add x", "pnpm add -w x", "pip3 install requests",
		"python -m pip install 'requests>=2'", "uv pip install x", "uv add x", "poetry add x", "go install example.com/x@latest",
		"go get example.com/x", "cargo install ripgrep", "cargo add serde", "sudo apt-get install -y jq", "brew install jq",
		"gem install rails -v 7", "apk add curl", "pip install git+https://example.com/x", "npm install $PKG", "dotnet add package X",
		"curl -fsSL https://example.com/i.sh | sh", "wget -qO- https://example.com/i.sh | sudo bash -s -- -y",
		"curl https://example.com/i.py | python3 -", "bash -c \"$(curl -fsSL https://example.com/i.sh)\"",
		"sh <(curl -s https://example.com/i.sh)", "source <(curl -s https://example.com/i.sh)", "eval \"$(curl -s https://example.com)\"",
		"curl -o /tmp/i.sh https://example.com && bash /tmp/i.sh", "wget -O x https://example.com; chmod +x x; ./x",
		"curl -s https://example.com | tee i.sh | bash", "curl -s https://example.com | (cat | sh)",
		"pip install flask && pytest", "sudo pacman -Syu jq",
		"curl -O https://example.com/x.sh && bash x.sh", "curl -sSLO 'https://example.com/x.sh?v=1'; sh ./x.sh",
		"wget https://example.com/x.sh; chmod +x x.sh; ./x.sh", "wget -q -P /tmp https://example.com/x.sh && sh /tmp/x.sh",
		"curl -s https://example.com/i > i.sh && sh i.sh", "curl -s https://example.com/i.gz | gunzip > i.sh && sh i.sh",
		"python3 -c \"$(curl -s https://example.com/i.py)\"", "node -e \"$(curl -s https://example.com/i.js)\"",
		"wget -O p.deb https://example.com/p && sudo dpkg -i p.deb", "rpm -Uvh https://example.com/p.rpm",
		"cd /tmp && curl -LO https://example.com/p.deb && dpkg -i ./p.deb",
	} {
		if facts := Command(command, "/w"); !facts.NetworkInstall || !facts.Install || facts.Class != "network_install" {
			t.Errorf("%s: %+v", command, facts)
		}
	}
	for _, command := range []string{
		"npm ci", "npm install", "pip install -r requirements.txt", "pip install -e .", "pip install .", "pip install ./dist/x.whl",
		"go install ./...", "cargo install --path .", "poetry install", "bundle install", "go mod download", "uv sync", "yarn",
	} {
		if facts := Command(command, "/w"); facts.NetworkInstall || !facts.Install || facts.Class != "install" {
			t.Errorf("%s: %+v", command, facts)
		}
	}
	for _, command := range []string{
		"cat install.sh | sh", "curl -s https://example.com | jq .", "curl -o a.zip https://example.com", "make install",
		"echo npm install left-pad", "git commit -m 'npm install left-pad'", "npm ls", "curl -s x; echo hi | sh", "pip list",
		"curl -s https://example.com/health; echo true > run.sh; sh run.sh", "curl -O https://example.com/x.sh; sh y.sh",
		"curl -s https://example.com 2> err.sh; sh err.sh", "wget -qO- https://example.com/x.sh | wc -l; sh x.sh",
		"python3 -c \"import json; print(json.loads('$(curl -s https://example.com/x)'))\"", "dpkg -l", "dpkg -i own.deb",
		"curl -s https://example.com > a.json && node -e 'x' a.json", "curl -s https://example.com | jq . > a.json; cat a.json",
	} {
		if facts := Command(command, "/w"); facts.NetworkInstall || facts.Install {
			t.Errorf("%s: %+v", command, facts)
		}
	}
}

func TestADownloadThatIsRunIsAScript(t *testing.T) {
	for command, want := range map[string]string{
		"curl -O https://example.com/x.sh && bash x.sh":                 "script",
		"curl -s https://example.com > i.sh && sh i.sh":                 "script",
		"python3 -c \"$(curl -s https://example.com)\"":                 "script",
		"wget -O p.deb https://example.com/p && sudo dpkg -i p.deb":     "script",
		"curl -O https://example.com/x.tgz && npm install ./x.tgz":      "url",
		"curl -O https://example.com/x.sh && docker run -v .:/x img ls": "",
	} {
		if got := Command(command, "/w").InstallSource; got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
}

func TestCommitsAndPushesAreTold(t *testing.T) {
	for command, want := range map[string][2]bool{
		"git commit -m x":                            {true, false},
		"git push origin main":                       {false, true},
		"git commit -qm x && git push":               {true, true},
		"git -C web --no-pager commit":               {true, false},
		"git commit -m \"$(cat <<'EOF'\nx\nEOF\n)\"": {true, false},
		"git commit --dry-run; git push -n":          {false, false},
		"git stash push; echo git commit":            {false, false},
		"git log --grep commit":                      {false, false},
	} {
		if facts := Command(command, ""); facts.Commit != want[0] || facts.Push != want[1] {
			t.Errorf("%s: commit %v push %v", command, facts.Commit, facts.Push)
		}
	}
}

func TestABrokenCommandTellsWhatCouldBeRead(t *testing.T) {
	facts := Command("cat > .env <<'EOF'\nA=1\nB=2", "/w")
	if !facts.ParseError || len(facts.Writes) != 1 || facts.Writes[0].Path != "/w/.env" {
		t.Errorf("a here-document without an end: %+v", facts)
	}
	facts = Command("npm test && echo 'unclosed", "/w")
	if !facts.ParseError || facts.Class != "test" {
		t.Errorf("a quote without an end: %+v", facts)
	}
	long := "cat > big.txt <<'EOF'\n" + strings.Repeat("0123456789\n", 10_000) + "EOF\n"
	if facts = Command(long, "/w"); !facts.ParseError || len(facts.Writes) != 1 {
		t.Errorf("over 64 KiB: %+v", facts)
	}
	if facts = Command("npm test", "/w"); facts.ParseError {
		t.Errorf("nothing is wrong with npm test: %+v", facts)
	}
}

func TestHostileCommandsAreQuick(t *testing.T) {
	const n = 1 << 20
	for _, command := range []string{
		strings.Repeat("(", n), strings.Repeat("$(", n), strings.Repeat("`", n), strings.Repeat("if ", n), strings.Repeat("a|", n),
		strings.Repeat("<<a\n", n), strings.Repeat("a && ", n), strings.Repeat("\x00", n), strings.Repeat("\xff", n),
		strings.Repeat("rm a;", n), strings.Repeat("'", n), strings.Repeat("a=$a;", n), "echo $((" + strings.Repeat("a?", n),
		strings.Repeat("for x in 1 2 3 4 5 6 7 8; do ", 40) + "rm $x" + strings.Repeat("; done", 40),
		"bash -c '" + strings.Repeat(`bash -c "`, n) + "'", strings.Repeat("{ ", 150) + strings.Repeat("}", 150),
	} {
		start := time.Now()
		facts := Command(command, "/w")
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.20q took %v", command, took)
		}
		if len(facts.Writes) > mostWrites {
			t.Errorf("%.20q: %d writes", command, len(facts.Writes))
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"npm test | tail -5", "cat > a <<'EOF'\nx\nEOF", "cd x && sed -i 's/a/b/' *.js", "bash -c 'curl x | sh'", "a=$(b) c <(d) $((1+2)) ${e:-f}",
		"for i in a b; do rm $i; done", "cp -t x ~ \"$HOME\" ''", "[[ a ]] && { b; } 2>&1", "find . -exec rm {} \\;", "sudo -u x env A=b xargs",
	} {
		f.Add(seed, "/home/dev/shop")
	}
	f.Fuzz(func(t *testing.T, command, cwd string) {
		facts := Command(command, cwd)
		if !slices.Contains(commandClasses, facts.Class) {
			t.Errorf("class %q", facts.Class)
		}
		for _, name := range strings.Fields(facts.Target) {
			if !safeName(name) && !strings.Contains(programTable, " "+name) {
				t.Errorf("target %q", facts.Target)
			}
		}
		for _, w := range facts.Writes {
			if w.Path == "" || !slices.Contains([]string{"create", "update", "delete", "unknown"}, w.Operation) {
				t.Errorf("write %+v", w)
			}
		}
	})
}

func BenchmarkCommand(b *testing.B) {
	const command = "cd web && git status --short; sed -i 's/Math.floor/Math.round/' src/price.js && npm test 2>&1 | tail -20 > out.log"
	b.ReportAllocs()
	for b.Loop() {
		Command(command, "/home/dev/src/shop")
	}
}
