# The one door: `make` shows what there is. Everything works in a fresh clone, as root and as an ordinary user.

SHELL := /bin/sh
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= $(HOME)/.local

# The agent runs alone in guests of any make, so it carries its own C library.
AGENT_TARGET := x86_64-unknown-linux-gnu
AGENT := $(TARGET)/$(AGENT_TARGET)/guest/banger-agent

# Boots under emulation keep one core busy for four seconds each.
TEST_THREADS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-bench build agent release run test test-lab smoke soak check bench install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Install the Debian packages that banger needs (says which; nothing when all are there)
	@scripts/setup run

setup-test:
	@scripts/setup test

setup-bench:
	@scripts/setup bench

build: setup agent ## Build everything, side by side, into target/debug
	@timeout -k 30 30m $(CARGO) build
	@install -m 755 $(AGENT) $(TARGET)/debug/banger-agent

agent:
	@RUSTFLAGS="-C target-feature=+crt-static" timeout -k 30 30m \
		$(CARGO) build -p banger-agent --profile guest --target $(AGENT_TARGET)

release: setup agent ## The same, optimised, into target/release
	@timeout -k 30 60m $(CARGO) build --release
	@install -m 755 $(AGENT) $(TARGET)/release/banger-agent

run: build ## Boot a disposable Linux machine and run a command in it
	$(TARGET)/debug/banger vm run --rm -- uname -a

# Two runs: testing the agent's own crate puts a dynamic banger-agent beside the others, which no guest could start. The
# first shows what passing tests print, because that is where those that skip say so.
test: setup-test build ## Run every test that this machine can run, real boots included
	@status=0; \
	PATH="$$PATH:$(abspath $(TARGET))/tools/docker-registry/usr/bin" \
	BANGER_TEST_FIRECRACKER=$(abspath $(TARGET))/tools/firecracker \
	BANGER_TEST_FIRECRACKER_API=$(abspath $(TARGET))/tools/firecracker.yaml timeout -k 60 40m \
		$(CARGO) test --workspace --exclude banger-e2e --no-fail-fast -- --test-threads=$(TEST_THREADS) --show-output || status=1; \
	install -m 755 $(AGENT) $(TARGET)/debug/banger-agent; \
	timeout -k 60 40m $(CARGO) test -p banger-e2e --no-fail-fast -- --test-threads=$(TEST_THREADS) || status=1; \
	$(MAKE) --no-print-directory smoke || status=1; \
	$(MAKE) --no-print-directory test-lab || status=1; \
	exit $$status

# Scenarios at once: one for each processor unless given.
JOBS ?=

smoke: setup-test build ## What users do, all at once on one host, through the CLI alone; SMOKE="--list | --scenario NAME,… --rounds N" JOBS=N
	@$(TARGET)/debug/smoke $(if $(JOBS),--jobs $(JOBS)) $(SMOKE)

# Optimised a little, since what runs in the lab runs on an emulated processor.
test-lab: setup-test agent ## Run end-to-end cases on real Firecracker, in an emulated KVM host; LAB="--case NAME --jobs N --keep" or LAB=--list
	@timeout -k 30 30m $(CARGO) build -q --profile lab -p banger-cli -p banger-daemon -p banger-usernet -p banger-e2e --bins
	@timeout -k 30 30m $(CARGO) test -q --profile lab -p banger-e2e --test cases --no-run
	@install -m 755 $(AGENT) $(TARGET)/lab/banger-agent
	@$(TARGET)/lab/lab $(LAB)

soak: setup-test build ## The long forms of tests: crash matrix, storms, schedules, torn files, fuzzed bytes; a daemon killed thousands of times; 1 GiB through a command; 20 rounds of `make smoke`
	@status=0; \
	BANGER_SOAK=1 timeout -k 60 12h $(CARGO) test -p banger-daemon -p banger-image -p banger-vmm -p banger-model -p banger-usernet --lib --bins --no-fail-fast -- \
		--show-output --test-threads=$(TEST_THREADS) matrix recovery storm schedules torn fuzzed || status=1; \
	BANGER_SOAK=1 timeout -k 60 12h $(CARGO) test -p banger-e2e --test cases -- --test-threads=$(TEST_THREADS) kills:: || status=1; \
	BANGER_E2E_STREAM_MIB=1024 timeout -k 60 1h $(CARGO) test -p banger-e2e --test cases a_long_stream || status=1; \
	$(MAKE) --no-print-directory smoke JOBS=4 SMOKE="--rounds 20" || status=1; \
	exit $$status

check: setup-test ## Format, lints, the walls between crates, and the tests that boot nothing
	$(CARGO) fmt --all --check
	timeout -k 30 30m $(CARGO) clippy -q --workspace --all-targets -- -D warnings
	timeout -k 30 10m $(CARGO) run -q -p xtask -- walls
	BANGER_TEST_FIRECRACKER_API=$(abspath $(TARGET))/tools/firecracker.yaml \
		timeout -k 30 30m $(CARGO) test -q --workspace --lib --bins

bench: setup-bench release ## Print how fast and how small, each beside its comparison in the same run
	timeout -k 60 60m $(CARGO) run -q --release -p banger-e2e --bin bench -- $(ONLY)

install: release ## Install into PREFIX (~/.local unless given), with manual pages and completions
	scripts/install $(TARGET)/release $(PREFIX)

clean: ## Remove what was built, and the test fixtures with it
	$(CARGO) clean
