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

SESSIONS ?= 1000
SEED     ?= 1

.PHONY: bench-detectors
bench-detectors: ## precision and recall of every detector on SESSIONS labelled sessions of SEED (make test takes 330)
	FLIGHTLOG_SESSIONS=$(SESSIONS) FLIGHTLOG_SEED=$(SEED) $(GO) test -count=1 -v -run '^TestDetectorsOnTheLabelledCorpus$$' ./cmd/flightlog

WORLDS ?= 450

.PHONY: bench-lineage
bench-lineage: ## precision and recall of tasks and changes on WORLDS labelled worlds of SEED, 16 partitions, 2 workers (make test takes 45)
	FLIGHTLOG_WORLDS=$(WORLDS) FLIGHTLOG_SEED=$(SEED) $(GO) test -count=1 -v -run '^TestLineageOfLabelledWorlds$$' ./cmd/flightlog

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
	FLIGHTLOG_REPORT=1 $(GO) test -count=1 -timeout 60m -v -skip '^(TestSinkThroughput|TestCriticalRow)' ./loadtest/report

.PHONY: bench-sink
bench-sink: ## rows/s and CPU per row of the OpenObserve sink against the same work without a broker; a critical row beside a million
	FLIGHTLOG_REPORT=1 $(GO) test -count=1 -timeout 30m -v -run '^(TestSinkThroughput|TestCriticalRow)' ./loadtest/report

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

KAFKA_JARS ?= $(CURDIR)/bin/kafka

$(KAFKA_JARS)/fetched: broker/kafka/kafkatest/pom.xml
	@for tool in java:openjdk-17-jre-headless mvn:maven; do \
		command -v "$${tool%%:*}" >/dev/null && continue; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y "$${tool##*:}" >/dev/null; fi; \
		command -v "$${tool%%:*}" >/dev/null || { echo "$${tool%%:*} is missing: install it (Debian: $${tool##*:})"; exit 1; }; \
	done
	rm -rf $(KAFKA_JARS)
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(KAFKA_JARS)
	@touch $@

.PHONY: test-kafka
test-kafka: $(KAFKA_JARS)/fetched ## the broker's suite, faults and kills on a real Kafka (needs Java 17 and Maven)
	FLIGHTLOG_KAFKA_JARS=$(KAFKA_JARS) $(GO) test -count=1 -timeout 30m -run 'ARealKafka' -v ./broker/kafka

.PHONY: test-python
test-python: $(KAFKA_JARS)/fetched ## the programs of docs/subscribe.md on a real JetStream and Kafka (needs Python 3.11 with venv, Java 17 and Maven)
	@if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null; fi; \
		python3 -c 'import ensurepip, venv' || { echo "python3 with venv is missing: install it (Debian: python3-venv)"; exit 1; }; \
	fi
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; set -e; \
	python3 -m venv "$$dir"; \
	"$$dir/bin/pip" install --quiet --disable-pip-version-check -r docs/subscribe/requirements.txt; \
	FLIGHTLOG_PYTHON="$$dir/bin/python" FLIGHTLOG_KAFKA_JARS=$(KAFKA_JARS) $(GO) test -count=1 -timeout 20m -v ./docs/subscribe

.PHONY: test-kill
test-kill: $(if $(filter jetstream%,$(BROKER)),,$(KAFKA_JARS)/fetched) ## kills of workers and brokers, then the checker: BROKER=jetstream|jetstream-r3|kafka KILLS=n SEED=s REPORT=dir (none: 20 on jetstream, 5 on kafka)
	$(GO) build -tags quick -o bin/chaos ./loadtest/chaos
	FLIGHTLOG_KAFKA_JARS=$(KAFKA_JARS) bin/chaos -broker "$(BROKER)" -kills $(if $(filter file,$(origin KILLS)),0,$(KILLS)) \
		-seed $(or $(SEED),1) -report $(or $(REPORT),bin/kills)
	$(if $(BROKER),,$(GO) test -tags quick -count=1 -timeout 20m -run '^TestAKillRunFindsBugs' ./loadtest/chaos)

.PHONY: test-sink
test-sink: $(KAFKA_JARS)/fetched ## a million rows into a stand-in of OpenObserve under faults, 200 kills -9 of the sink; a smaller run on a real Kafka: ROWS=n SINK_KILLS=n SEED=s
	FLIGHTLOG_SINK_ROWS=$(or $(ROWS),1000000) FLIGHTLOG_SINK_KILLS=$(or $(SINK_KILLS),200) FLIGHTLOG_SINK_SEED=$(or $(SEED),1) \
		$(GO) test -count=1 -timeout 30m -v -run '^TestSinkKill$$' ./cmd/flightlog
	FLIGHTLOG_SINK_BROKER=kafka FLIGHTLOG_KAFKA_JARS=$(KAFKA_JARS) FLIGHTLOG_SINK_ROWS=100000 FLIGHTLOG_SINK_KILLS=10 \
		$(GO) test -count=1 -timeout 15m -v -run '^TestSinkKill$$' ./cmd/flightlog

.PHONY: test-ccusage
test-ccusage: ## tokens and cost of the recordings and the traps of pricing by ccusage beside ours, each difference with its reason (needs npm)
	@command -v npm >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y npm >/dev/null; fi; \
		command -v npm >/dev/null || { echo "npm is missing: install it (Debian: npm)"; exit 1; }; \
	}
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; set -e; \
	npm install --silent --no-audit --no-fund --cache "$$dir/cache" --prefix "$$dir" ccusage@20.0.24 @ccusage/ccusage-linux-x64@20.0.24; \
	export FLIGHTLOG_CCUSAGE="$$dir/node_modules/@ccusage/ccusage-linux-x64/bin/ccusage"; \
	chmod +x "$$FLIGHTLOG_CCUSAGE"; \
	$(GO) test -count=1 -v -run '^TestCcusageBesideOurs$$' ./cmd/flightlog

SEEDS ?= 200000

.PHONY: sim
sim: ## SEEDS histories of engine and log in virtual time (make test plays 500); a failing one says how to play it again
	$(GO) test -count=1 -timeout 24h -v -run '^TestEverySeed' ./processors/engine/simulation -seeds $(SEEDS)
