package extraction

import (
	"strings"
	"sync"
)

// Classes of commands, the least telling first: of a line with several
// commands the last of this list names the line. network_install is an install
// of something named on the command line, or of a script from the network;
// install takes what the repository's lock file or the command's own folder
// says. permission_bypass starts an agent that asks for no permission.
var commandClasses = []string{"other", "read", "search", "interpreter", "package_manager", "write", "delete",
	"network", "database", "container", "infrastructure", "vcs", "format", "lint", "build", "install", "test",
	"network_install", "permission_bypass"}

// programTable is one program a line: its class, then the subcommands that may
// stand in a target, each with a class where it is another one. A + marks those
// that install what they are given. gh.pr is the second level of gh pr.
const programTable = `
git       vcs  add am apply archive bisect blame branch bundle checkout cherry-pick clean clone commit config describe diff fetch format-patch gc grep:search init log ls-files ls-remote merge mv notes pull push rebase reflog remote reset restore rev-list rev-parse revert rm shortlog show stash status submodule switch tag worktree
gh        vcs  api auth browse gist issue label pr release repo run search secret variable workflow
gh.pr     vcs  checkout checks close comment create diff edit list merge ready reopen review status view
gh.issue  vcs  close comment create edit list view
gh.run    vcs  list rerun view watch
gh.repo   vcs  clone create fork view
gh.release vcs create download list upload view
glab      vcs  api ci issue mr release repo
hg        vcs  add commit diff log pull push status update
svn       vcs  add checkout commit diff log status update
jj        vcs  bookmark commit describe diff git log new squash status
npm       package_manager  audit:lint access cache ci:install clean-install:install config dedupe doctor exec explain fund i:install+ init install:install+ add:install+ link list login ls outdated pack ping prune publish query root run run-script search start t:test test:test tst:test uninstall unlink update version view whoami
pnpm      package_manager  add:install+ audit:lint build:build dev dlx exec fetch i:install+ install:install+ lint:lint list outdated publish remove run start t:test test:test update why
yarn      package_manager  add:install+ audit:lint build:build cache dev dlx exec format:format global info init install:install lint:lint list outdated publish remove run start test:test upgrade why workspace workspaces
yarn.global package_manager add:install+ list remove
bun       package_manager  add:install+ build:build create dev i:install+ init install:install+ link outdated pm publish remove run start test:test update upgrade
corepack  package_manager  enable disable install:install+ prepare use
nvm       package_manager  install:install+ use
volta     package_manager  install:install+ pin
node      interpreter
deno      interpreter  add:install+ bench bundle:build cache check:lint compile:build eval fmt:format info install:install+ lint:lint publish repl run serve task test:test
ts-node   interpreter
tsx       interpreter
python    interpreter
ruby      interpreter
perl      interpreter
php       interpreter
lua       interpreter
osascript interpreter
pwsh      interpreter
powershell interpreter
bash      interpreter
sh        interpreter
pip       package_manager  cache check config download:install+ freeze index install:install+ list show uninstall wheel:build
pipx      package_manager  inject:install+ install:install+ list run uninstall upgrade
uv        package_manager  add:install+ build:build cache export init lock pip publish python remove run self sync:install tool tree venv version
uv.pip    package_manager  check compile freeze install:install+ list show sync:install tree uninstall
uv.tool   package_manager  install:install+ list run uninstall upgrade
uv.python package_manager  install:install+ list pin
poetry    package_manager  add:install+ build:build check config env export init install:install lock new publish remove run shell show update version
pdm       package_manager  add:install+ build:build install:install lock remove run sync:install test:test update
pipenv    package_manager  install:install+ lock run shell sync:install uninstall update
hatch     package_manager  build:build env fmt:format publish run shell test:test version
conda     package_manager  activate create env info install:install+ list remove run search update
mamba     package_manager  create env install:install+ list remove run search update
rye       package_manager  add:install+ run sync:install test:test
mise      package_manager  install:install run tasks use
devbox    package_manager  install:install run shell
coverage  interpreter  combine:read erase html:read report:read run xml:read
gem       package_manager  build:build install:install+ list push search uninstall update
bundle    package_manager  add:install+ check config exec install:install lock outdated show update
composer  package_manager  create-project:install+ dump-autoload install:install outdated remove require:install+ run-script show test:test update validate:lint
cargo     package_manager  add:install+ audit:lint bench build:build check:build clean clippy:lint doc:build fetch fix fmt:format generate init install:install+ metadata new nextest:test publish remove run rustc:build search tree test:test update
rustup    package_manager  component default install:install+ show target toolchain update
go        build  bench build:build clean doc:read env:read fix:format fmt:format generate get:install+ install:install+ list:read mod run:interpreter telemetry test:test tool version:read vet:lint work
go.mod    package_manager  download:install edit graph init tidy vendor verify why
dotnet    build  add:install+ build:build clean ef format:format list new nuget pack publish remove restore:install run:interpreter test:test tool vstest:test
dotnet.add build package:install+ reference
dotnet.tool package_manager install:install+ list restore:install update
swift     build  build:build package run:interpreter test:test
zig       build  build:build fmt:format run:interpreter test:test
mix       build  compile:build credo:lint deps deps.get:install dialyzer:lint ecto.migrate:database format:format phx.server release run test:test
flutter   build  analyze:lint build:build clean format:format pub run test:test
dart      build  analyze:lint compile:build fix format:format pub run test:test
apt       package_manager  autoremove install:install+ list purge remove search show update upgrade
apt-get   package_manager  autoremove build-dep:install+ clean install:install+ purge remove update upgrade
dnf       package_manager  install:install+ list remove search update upgrade
yum       package_manager  install:install+ list remove search update upgrade
apk       package_manager  add:install+ del info search update upgrade
zypper    package_manager  install:install+ in:install+ refresh remove search update
snap      package_manager  install:install+ list remove
brew      package_manager  bundle cleanup doctor info install:install+ list reinstall:install+ search services tap uninstall update upgrade
port      package_manager  install:install+ list search uninstall
choco     package_manager  install:install+ list search uninstall upgrade
winget    package_manager  install:install+ list search uninstall upgrade
scoop     package_manager  install:install+ list search uninstall update
nix-env   package_manager
pacman    package_manager
make      build  all bench build check:test clean dev docs fmt:format format:format generate install lint:lint release run start test:test tests:test
gmake     build  all build check:test clean install lint:lint test:test
just      build  build check:test dev fmt:format format:format lint:lint run test:test
task      build  build check:test fmt:format lint:lint run test:test
rake      build  build db:migrate:database lint:lint spec:test test:test
invoke    build  build lint:lint test:test
gradle    build  assemble bootRun build check:test classes clean compileJava dependencies jar lint:lint publish run spotlessApply:format spotlessCheck:lint test:test
mvn       build  clean compile deploy install package site spotless:apply:format test:test validate verify:test
ant       build  clean compile test:test
sbt       build  clean compile run scalafmt:format test:test
lein      build  compile deps run test:test uberjar
bazel     build  build clean query run test:test
buck2     build  build run test:test
nx        build  affected build lint:lint run serve test:test
turbo     build  build dev lint:lint run test:test
lerna     build  bootstrap:install publish run version
cmake     build
ninja     build
meson     build  compile install setup test:test
xcodebuild build analyze archive build clean test:test
rails     build  console db:migrate:database generate new routes:read runner server test:test
artisan   build
ng        build  build generate lint:lint serve test:test
next      build  build dev lint:lint start
vite      build  build dev preview
webpack   build
rollup    build
esbuild   build
parcel    build  build serve watch
tsc       build
gcc       build
g++       build
clang     build
clang++   build
cc        build
javac     build
rustc     build
protoc    build
buf       build  breaking:lint build:build format:format generate lint:lint
jest      test
vitest    test  bench related run watch
mocha     test
ava       test
tap       test
karma     test  start
cypress   test  open run
playwright test codegen install:install merge-reports show-report test
pytest    test
unittest  test
nose2     test
tox       test
nox       test
ginkgo    test  run
gotestsum test
rspec     test
cucumber  test
phpunit   test
pest      test
ctest     test
bats      test
prove     test
busted    test
shellspec test
eslint    lint
tslint    lint
biome     lint  check ci format:format lint
oxlint    lint
stylelint lint
ruff      lint  check format:format
flake8    lint
pylint    lint
mypy      lint
pyright   lint
bandit    lint
rubocop   lint
phpstan   lint
psalm     lint
shellcheck lint
hadolint  lint
golangci-lint lint  fmt:format run
staticcheck lint
govulncheck lint
actionlint lint
yamllint  lint
markdownlint lint
pre-commit lint install run
semgrep   lint  ci scan
trivy     lint  config fs image repo
gitleaks  lint  detect dir git protect
clippy-driver lint
prettier  format
gofmt     format
goimports format
gofumpt   format
black     format
isort     format
autopep8  format
rustfmt   format
clang-format format
shfmt     format
docker    container  attach build buildx compose container context cp create exec image images info inspect kill load login logs network ps pull push restart rm rmi run save start stats stop system tag top version volume
docker.compose container build config down exec logs ps pull restart rm run start stop up
docker-compose container build config down exec logs ps pull restart rm run start stop up
podman    container  build compose exec images logs ps pull push rm run start stop
nerdctl   container  build exec images logs ps pull push rm run
kubectl   infrastructure  annotate apply attach config cordon cp create debug delete describe diff drain edit exec explain expose get label logs patch port-forward replace rollout run scale set taint top uncordon version wait
helm      infrastructure  dependency get history install lint:lint list package pull push repo rollback search show status template test uninstall upgrade
kustomize infrastructure  build edit
skaffold  infrastructure  build deploy dev run
terraform infrastructure  apply destroy fmt:format force-unlock get graph import init output plan providers refresh show state taint test untaint validate:lint version workspace
tofu      infrastructure  apply destroy fmt:format import init output plan show state test validate:lint
terragrunt infrastructure apply destroy init plan run-all
pulumi    infrastructure  destroy import preview refresh stack up
ansible   infrastructure
ansible-playbook infrastructure
aws       infrastructure  cloudformation dynamodb ec2 ecr ecs eks iam kms lambda logs rds route53 s3 s3api secretsmanager sns sqs ssm sts
gcloud    infrastructure  app auth builds compute config container functions iam projects run secrets services sql storage
az        infrastructure  account acr aks appservice group keyvault login storage vm webapp
fly       infrastructure  deploy launch logs scale secrets status
vercel    infrastructure  build deploy dev env link logs
netlify   infrastructure  build deploy dev link
wrangler  infrastructure  deploy dev publish secret tail
systemctl infrastructure  daemon-reload disable enable restart start status stop
psql      database
mysql     database
mariadb   database
sqlite3   database
mongosh   database
redis-cli database
prisma    database  db format:format generate migrate studio validate:lint
alembic   database  current downgrade history revision upgrade
flyway    database  clean info migrate repair validate
liquibase database  rollback status update
knex      database
curl      network
wget      network
http      network
ssh       network
scp       network
sftp      network
rsync     network
nc        network
ncat      network
telnet    network
ping      network
dig       network
nslookup  network
ftp       network
grep      search
egrep     search
fgrep     search
rg        search
ag        search
ack       search
find      search
fd        search
fdfind    search
locate    search
which     search
whereis   search
cat       read
bat       read
less      read
more      read
head      read
tail      read
ls        read
tree      read
stat      read
file      read
wc        read
sort      read
uniq      read
cut       read
tr        read
awk       read
gawk      read
sed       read
jq        read
yq        read
diff      read
cmp       read
comm      read
nl        read
od        read
xxd       read
hexdump   read
strings   read
du        read
df        read
pwd       read
env       read
printenv  read
realpath  read
readlink  read
basename  read
dirname   read
ps        read
lsof      read
sha256sum read
md5sum    read
column    read
man       read
tee       write
touch     write
mkdir     write
cp        write
mv        write
ln        write
install   write
chmod     write
chown     write
truncate  write
dd        write
patch     write
apply_patch write
tar       write
unzip     write
zip       write
gzip      write
gunzip    write
rm        delete
rmdir     delete
unlink    delete
shred     delete
`

// program is one line of the table.
type program struct {
	class string
	subs  map[string]subcommand
}

type subcommand struct {
	class string
	adds  bool // installs what it is given
}

var programs = sync.OnceValue(func() map[string]program {
	table := map[string]program{}
	for line := range strings.Lines(programTable) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		p := program{class: words[1], subs: map[string]subcommand{}}
		for _, word := range words[2:] {
			name, class := word, p.class
			if cut := strings.LastIndexByte(word, ':'); cut > 0 {
				name, class = word[:cut], word[cut+1:]
			}
			class, adds := strings.CutSuffix(class, "+")
			p.subs[name] = subcommand{class, adds}
		}
		table[words[0]] = p
	}
	return table
})

// otherNames are names under which a program of the table is also called.
var otherNames = map[string]string{
	"nodejs": "node", "gradlew": "gradle", "mvnw": "mvn", "mvnd": "mvn", "bundler": "bundle", "py": "python",
	"pypy": "python", "zsh": "bash", "dash": "sh", "ksh": "sh", "fish": "sh", "ash": "sh", "gsed": "sed",
	"micromamba": "mamba", "flyctl": "fly", "go-task": "task", "inv": "invoke", "py.test": "pytest", "gtar": "tar",
}

// valuedOptions take a value of their own in most programs with subcommands.
var valuedOptions = set(`-C --git-dir --work-tree --prefix --cwd --dir --directory --filter -F --workspace -w
	--namespace -n --context --kubeconfig --repo -R --profile --region --manifest-path -f --file --project-name
	--host -H --config --kube-context --color`)

// kindOfScript is the class of a script, target or file by its name: what is
// called test, build, lint or format, in whatever combination of words; ""
// for any other.
func kindOfScript(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(":-_./ ", r) })
	class := ""
	for _, word := range words {
		switch lower := strings.ToLower(word); {
		case lower == "lint" || lower == "eslint" || lower == "typecheck" || lower == "types" || lower == "vet":
			return "lint"
		case lower == "test" || lower == "tests" || lower == "spec" || lower == "specs" || lower == "e2e" || lower == "unittest",
			strings.HasPrefix(word, "test") && len(word) > 4 && 'A' <= word[4] && word[4] <= 'Z':
			class = "test"
		case class == "" && (lower == "build" || lower == "compile" || lower == "bundle" || lower == "assemble" || lower == "rebuild"):
			class = "build"
		case class == "" && (lower == "format" || lower == "fmt" || lower == "prettier"):
			class = "format"
		}
	}
	return class
}
