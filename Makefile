# Only Go and make are needed; make help lists the targets.

GO            ?= go
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION       := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME      ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## bin/flightlog
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: demo
demo: build ## the recorded sessions through the whole pipeline
	bin/flightlog demo

.PHONY: check
check: ## format, vet, linters, arrows, generated files fresh
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run ./schemas/internal/generate -check -dir schemas
	$(GO) test -run 'Arrows' .
	$(GO) run $(GOLANGCI_LINT) run

.PHONY: test
test: ## every test
	$(GO) test ./...

KILLS ?= 100

.PHONY: kills
kills: ## kill -9 at KILLS seeded places (make test does 10); says where each fell
	FLIGHTLOG_KILLS=$(KILLS) $(GO) test -count=1 -timeout 30m -v -run '^TestKill$$' ./cmd/flightlog

.PHONY: race
race: ## every test with the race detector
	$(GO) test -race -short ./...

.PHONY: bench
bench: ## benchmarks of every package, versions per fact, and bench-import
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...
	$(GO) test -count=1 -v -run '^TestMostFactsAreSaidOnce$$' ./cmd/flightlog
	$(MAKE) bench-import

.PHONY: bench-import
bench-import: ## CPU of import on 250 MB of transcripts, beside ccusage where there is npm
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; \
	if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --prefix "$$dir" ccusage@20.0.24 @ccusage/ccusage-linux-x64@20.0.24; \
		export FLIGHTLOG_CCUSAGE="$$dir/node_modules/@ccusage/ccusage-linux-x64/bin/ccusage"; \
		chmod +x "$$FLIGHTLOG_CCUSAGE"; \
	fi; \
	FLIGHTLOG_IMPORT_MB=250 $(GO) test -count=1 -timeout 20m -v -run '^TestImportCost$$' ./cmd/flightlog

.PHONY: bench-engine
bench-engine: ## events/s, CPU, commit latency by broker, frame and workers; restore; memory (Kafka too where FLIGHTLOG_KAFKA_JARS is set)
	FLIGHTLOG_REPORT=1 $(GO) test -count=1 -timeout 60m -v ./loadtest/report

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for name in $$($(GO) test -run '^$$' -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
