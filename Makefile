# The only task runner. `make help` lists the targets; CI calls the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export FIRSTLIGHT_CACHE ?= $(HOME)/.cache/firstlight
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export FIRSTLIGHT_ARTEFACTS := $(CURDIR)/build

MUSL := x86_64-unknown-linux-musl
export CC_x86_64_unknown_linux_musl := musl-gcc
# A megabyte of relocations, read by each process at its start, becomes six kilobytes.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS := -C link-arg=-Wl,-z,pack-relative-relocs
TOOLS := $(FIRSTLIGHT_CACHE)/tools
CARGO_DENY := $(TOOLS)/cargo-deny-0.20.2/bin/cargo-deny
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-0.13.1/bin/cargo-fuzz
FUZZ_SECONDS ?= 60
HELM := $(FIRSTLIGHT_CACHE)/current/helm/bin/helm

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Install what the build needs from Debian and rustup (needs root)
	@./e2e/setup.sh

include e2e/deps.mk

# --- build -----------------------------------------------------------------------------------------------------

.PHONY: build
build: artefacts binaries images chart ## Build binaries, shim, simulator, images and chart into build/

.PHONY: artefacts
artefacts: setup ## Build shim, simulator, preflight and prober into build/
	@./crates/shim/build.sh build/shim
	@./crates/simulator/build.sh build/simulator
	@./crates/preflight/build.sh build/bin
	@./crates/prober/build.sh build/bin

.PHONY: binaries
binaries: artefacts ## Build daemons and CLI (static) into build/bin
	cargo build --quiet --profile static --target $(MUSL) -p firstlight-webhook
	cargo build --quiet --profile static-abort --target $(MUSL) -p firstlight-plugin -p firstlight-cli
	@mkdir -p build/bin
	@for name in static/firstlight-webhook static-abort/firstlight-plugin static-abort/kubectl-firstlight; do \
	    cp "$(CARGO_TARGET_DIR)/$(MUSL)/$$name" build/bin/.new && mv build/bin/.new "build/bin/$${name#*/}"; done

.PHONY: chart
chart: $(HELM) ## Package the Helm chart into build/charts
	@mkdir -p build/charts && $(HELM) package --destination build/charts charts/firstlight >/dev/null

.PHONY: manifests
manifests: $(HELM) ## Render manifests/ from the chart
	@./charts/render.sh write

# --- test ------------------------------------------------------------------------------------------------------

.PHONY: test
test: deps build ## All levels: unit, libraries, chart, cluster. Ends with "N passed, N failed"
	@./e2e/test.sh all

.PHONY: test-quick
test-quick: ## Unit and property tests only: no products, no cluster
	cargo test --quiet --workspace --exclude firstlight-e2e --lib --bins

.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## Fuzz every parser of foreign bytes, FUZZ_SECONDS (60) each
	@for target in records grant ledger fault pools preflight loader prober cdi; do \
	    mkdir -p "$(CARGO_TARGET_DIR)/fuzz-corpus/$$target"; \
	    RUSTC_BOOTSTRAP=1 PATH="$(dir $(CARGO_FUZZ)):$$PATH" cargo fuzz run --fuzz-dir crates/contract/fuzz "$$target" \
	        "$(CARGO_TARGET_DIR)/fuzz-corpus/$$target" "crates/contract/fuzz/seeds/$$target" -- \
	        -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0; done

$(CARGO_FUZZ):
	@echo "building cargo-fuzz (once)"
	cargo install --quiet --locked --root "$(TOOLS)/cargo-fuzz-0.13.1" --target-dir "$(TOOLS)/build" cargo-fuzz@0.13.1

.PHONY: lint
lint: $(CARGO_DENY) $(HELM) ## Formatting, clippy, licences, generated files
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
	$(CARGO_DENY) --log-level error check bans licenses sources
	@./charts/render.sh check

$(CARGO_DENY):
	@echo "building cargo-deny (once)"
	cargo install --quiet --locked --root "$(TOOLS)/cargo-deny-0.20.2" --target-dir "$(TOOLS)/build" cargo-deny@0.20.2

# --- run -------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: ## The whole path on this machine: cluster, chart, Ollama, verdict
	@./e2e/demo/run.sh

.PHONY: demo-down
demo-down: cluster-down ## Stop the demo; leaves nothing behind

.PHONY: bench
bench: binaries ## Benchmarks: ratios measured side by side
	@./e2e/bench.sh

.PHONY: hardware-bundle
hardware-bundle: deps binaries ## Collect what e2e/hardware/run.sh needs on a machine with a GPU into build/hardware
	@./e2e/hardware/bundle.sh build/hardware

.PHONY: clean
clean: ## Remove build results (not the cache)
	rm -rf build target
