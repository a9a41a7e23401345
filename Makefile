# Tollgate. `make` alone lists what there is. Rust and a C compiler are needed, for the tests Go too; they install all else (e2e/tools/install).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test soak conformance check fmt bench bench-policy bench-scale bench-footprint crds images e2e-cluster rbac prices fuzz redis tools

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
ROUNDS ?= 5
SECONDS ?= 1.5
FUZZ_SECONDS ?= 60
CHANGES ?= 200
KEYS ?= 5000
MINUTES ?= 10
REGISTRY ?= ghcr.io/tollgate
TAG ?= 0.1.0

# Benchmarks measure the programs that images hold, and are built beside them: in `built` afterwards.
shipped = built=$$(PROGRAMS="tollgate-operator tollgate-dataplane $(1)" CARGO="$(CARGO)" deploy/images/build)

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: ## Play the scenario of deploy/samples with fakes and stay up (ONCE=1: end by itself)
	$(CARGO) build -p tollgate-dataplane -p tollgate-e2e --bins
	@$(TARGET)/debug/demo $(if $(filter-out 0,$(ONCE)),--once)

test: tools check ## Everything: checks, all tests with the real clients, the operator's rights against what it used, the demo
	$(CARGO) build --workspace --bins
	rm -rf $(TARGET)/audit && mkdir -p $(TARGET)/audit
	TOLLGATE_AUDIT=$(abspath $(TARGET))/audit $(CARGO) test --workspace --no-fail-fast
	e2e/tools/rbac $(TARGET)
	deploy/images/test $(TARGET)/debug
	$(TARGET)/debug/demo --once

check: ## Format, lints, generated files, charts, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) run --quiet -p tollgate-crds --bin crdgen -- --check
	e2e/tools/charts
	e2e/tools/deny

fmt: ## Format the code
	$(CARGO) fmt --all

bench: ## Compare with no gateway and a proxy that does nothing (ROUNDS=5 SECONDS=1.5 YARDSTICK=program)
	@$(call shipped,bench floor fake-provider) && $$built/bench --rounds $(ROUNDS) --seconds $(SECONDS) \
	  $(if $(YARDSTICK),--yardstick $(YARDSTICK)) --json $(TARGET)/bench.json

bench-policy: ## From kubectl apply to enforced on two gateways, 200 changes; writes docs/results (CHANGES=200)
	@e2e/tools/install cluster helm > /dev/null
	@$(call shipped,policy-latency) && $$built/policy-latency --changes $(CHANGES) --results docs/results

bench-scale: ## 5,000 keys: starts, memory, one change on the wire; writes docs/results (KEYS=5000)
	@e2e/tools/install cluster helm > /dev/null
	@$(call shipped,scale) && $$built/scale --keys $(KEYS) --results docs/results

bench-footprint: ## Memory and processor time of an idle operator, gateway and relay; writes docs/results
	@e2e/tools/install cluster helm > /dev/null
	@$(call shipped,footprint) && $$built/footprint --results docs/results

soak: ## One part after the other fails under load; writes docs/results (MINUTES=10 SEED=…)
	@e2e/tools/install cluster helm redis postgres > /dev/null
	$(CARGO) build --workspace --bins
	@$(TARGET)/debug/soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --results docs/results

conformance: ## The official MCP conformance suite against /mcp; writes docs/results (all of it is part of make test)
	@e2e/tools/install conformance > /dev/null
	$(CARGO) build --workspace --bins
	@$(TARGET)/debug/conformance --results docs/results

crds: ## Write crds/manifests and the chart's copies from the types
	$(CARGO) run -p tollgate-crds --bin crdgen

images: ## Build static programs, pack them into target/images/{operator,dataplane,standalone}.tar, test them (REGISTRY=… TAG=…)
	e2e/tools/install images
	deploy/images/build $(TARGET)/images/dist
	for image in operator dataplane standalone; do deploy/images/pack deploy/images/$$image.Dockerfile \
	  --dist $(TARGET)/images/dist --tag $(REGISTRY)/$$image:$(TAG) -o $(TARGET)/images/$$image.tar; done
	deploy/images/test --static $(TARGET)/images/dist
	@stat --printf '%s bytes\t%n\n' $(TARGET)/images/dist/tollgate-* $(TARGET)/images/*.tar

prices: ## Refresh the price catalogue from its registry package (VERSION=… moves to another version)
	dataplane/translate/data/refresh $(VERSION)

e2e-cluster: ## Real pods: the charts on a Kubernetes built from source, no refused request (root; writes docs/results)
	@[ -z "$${KUBECONFIG-}" ] || { echo "KUBECONFIG is set, but this makes a cluster of its own: unset KUBECONFIG" >&2; exit 1; }
	e2e/tools/install cluster node helm redis postgres claude > /dev/null
	$(CARGO) build --workspace --bins
	rm -rf $(TARGET)/audit-level2 && mkdir -p $(TARGET)/audit-level2
	TOLLGATE_AUDIT=$(abspath $(TARGET))/audit-level2 TOLLGATE_RESULTS=1 \
	  $(CARGO) test --workspace --features tollgate-e2e/level2 --test level2 -- --nocapture
	$(TARGET)/debug/rbac $(TARGET)/audit-level2

rbac: ## Whether the operator's rights are what it used where they are for, in the last `make test`, by the audit logs
	e2e/tools/rbac $(TARGET)

fuzz: ## Fuzz the parsers, each for FUZZ_SECONDS=60; writes docs/results (its seeds are part of make test)
	e2e/tools/fuzz $(FUZZ_SECONDS)

redis: ## Test the shared account against a real redis-server (part of make test)
	e2e/tools/install redis
	$(CARGO) test -p tollgate-ledger --features redis
	$(CARGO) build -p tollgate-dataplane --bins
	$(CARGO) test -p tollgate-e2e --test shared_money

tools: ## Install what the tests need (Claude Code, SDKs, Chromium, the MCP conformance suite), outside the checkout
	e2e/tools/install
