# Every command a developer or a user of the source needs. `make help` lists them.
# Plain `cargo build --release` works as well; it compiles RocksDB into ./target, which takes much longer.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Outside the checkout, so that a fresh clone does not start from nothing.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tidelog-target
# clang reads RocksDB's headers twice as fast as g++. Make presets CC and CXX: only a value of the user's own counts.
ifeq ($(origin CC),default)
CC := clang
endif
ifeq ($(origin CXX),default)
CXX := clang++
endif
export CC CXX

# CI must build what Cargo.lock says; at a desk cargo may bring it up to date.
LOCKED := $(if $(CI),--locked)

# Put before cargo: the RocksDB archive of this machine (built when it is not there) instead of a new compilation.
with_rocksdb = scripts/ensure-deps.sh build; \
	ROCKSDB_LIB_DIR=$$(scripts/rocksdb-archive.sh); export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1;

.PHONY: help build run test fuzz compat faults bench fmt lint env clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the program at ./bin/tidelog (optimised)
	@$(with_rocksdb) cargo build --release $(LOCKED) --bin tidelog
	@mkdir -p bin
	@install -m 755 "$$CARGO_TARGET_DIR/release/tidelog" bin/tidelog

run: build ## build, then start a broker on 127.0.0.1:9092; ARGS="--override key=value" is passed on
	@exec ./bin/tidelog serve $(ARGS)

test: ## every test that needs nothing but this checkout
	@$(with_rocksdb) cargo test $(LOCKED)

fuzz: ## each fuzz target for a bounded time; ARGS="SECONDS [TARGET...]", 30 seconds and all targets without
	@$(with_rocksdb) scripts/fuzz.sh $(ARGS)

compat: build ## real Kafka clients against ./bin/tidelog; ARGS goes to pytest, e.g. ARGS="-k kcat"
	@scripts/ensure-deps.sh compat
	@compat-tests/run-all.sh $(ARGS)

faults: build ## power cuts, kills, damaged files and failing disks; ARGS goes to pytest, e.g. ARGS="-k power"
	@scripts/ensure-deps.sh faults
	@tests/faults/run.sh $(ARGS)

bench: build ## Tidelog beside Apache Kafka on this machine, most of an hour; ARGS="--case produce-cpu --pairs 2" for a part
	@scripts/ensure-deps.sh bench
	@benches/compare/run.py $(ARGS)

fmt: ## format the Rust sources
	@cargo fmt

lint: ## formatting, clippy, and (when installed) cargo-deny
	@cargo fmt --check
	@$(with_rocksdb) cargo clippy $(LOCKED) --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not installed: skipped"; fi

env: ## what plain cargo needs to build as make does: eval "$(make env)"
	@$(with_rocksdb) printf 'export %s=%q\n' CARGO_TARGET_DIR "$$CARGO_TARGET_DIR" CC "$$CC" CXX "$$CXX" \
		ROCKSDB_LIB_DIR "$$ROCKSDB_LIB_DIR" ROCKSDB_STATIC 1

clean: ## remove what was built from this checkout (the RocksDB archive stays)
	@cargo clean
	@rm -rf bin
