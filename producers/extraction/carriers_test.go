package extraction

import "testing"

func TestTestsThatRunElsewhere(t *testing.T) {
	for command, target := range map[string]string{
		"docker compose run --rm -e A=b app pytest -q":                 "pytest",
		"docker compose -f ci.yml exec -T web npm test":                "npm test",
		"docker-compose exec app bundle exec rspec":                    "rspec",
		"docker exec -it shop_1 go test ./...":                         "go test",
		"docker run --rm -v \"$PWD:/app\" -w /app node:22 npm test":    "npm test",
		"docker exec app sh -c 'cd /app && npm test'":                  "npm test",
		"kubectl exec pod/web -- pytest tests":                         "pytest",
		"ssh build@host 'cd shop && pytest'":                           "pytest",
		"nix develop -c pytest":                                        "pytest",
		"nix-shell --run 'go test ./...'":                              "go test",
		"xvfb-run -s '-screen 0' npm test":                             "npm test",
		"firebase emulators:exec \"npm test\"":                         "npm test",
		"yarn workspace api test":                                      "yarn test",
		"coverage run -m pytest":                                       "pytest",
		"mise run test":                                                "mise run",
		"terraform init && terraform apply -auto-approve":              "terraform apply",
		"helm repo update && helm upgrade shop ./chart":                "helm upgrade",
		"kubectl config use-context prod\nkubectl apply -f deploy.yml": "kubectl apply",
		"kubectl apply -f x.yml && kubectl rollout status deploy/x":    "kubectl apply",
		"docker build -t x . && docker push x":                         "docker push",
	} {
		facts := Command(command, "/home/dev/shop")
		if facts.Target != target || facts.Test != (facts.Class == "test") {
			t.Errorf("%s: %s of class %s (test %t), want %s", command, facts.Target, facts.Class, facts.Test, target)
		}
	}
	for _, command := range []string{"docker compose up -d", "docker run postgres", "docker exec db psql -c 'select 1'", "ssh host uptime",
		"kubectl exec pod -- ls tests", "go test -c ./...", "make -n test", "./gradlew build -x test", "docker compose run app rm -rf /app/x", "nix develop", "docker run"} {
		if facts := Command(command, "/home/dev/shop"); facts.Test || len(facts.Writes) > 0 {
			t.Errorf("%s: %+v", command, facts)
		}
	}
}

func TestFilesAboutProtectedFilesAreNot(t *testing.T) {
	for file, want := range map[string]string{"Dockerfile.md": "", "docs/Dockerfile.log": "", "Dockerfile.test.js": "", "src/Jenkinsfile.test.groovy": "",
		"Dockerfile": ClassInfrastructure, "Dockerfile.dev": ClassInfrastructure, "api.Dockerfile": ClassInfrastructure, "Jenkinsfile.prod": ClassCI} {
		if got := ProtectedClass(file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
}
