# What a person does with this project. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/target/tools/bin:/usr/sbin:/usr/local/sbin:$(PATH)

.PHONY: help demo test faults bench build lint audit clean setup

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Install what is missing, build, bring up a real cluster and walk through the main job
	cargo build --release --locked -p vtplan
	tests/scripts/demo

test: setup ## Install what is missing and run all tests, on real servers
	tests/scripts/setup sysbench=sysbench ip=iproute2 jq=jq git=git
	cargo build --locked --workspace --all-targets
	tests/scripts/run-tests

faults: setup ## Kill and cut off each part of a cluster at each phase of a switch (half an hour)
	tests/scripts/setup ip=iproute2 sysbench=sysbench
	cargo build --locked --workspace --all-targets
	VTPLAN_FAULTS=all VTPLAN_SYSBENCH=all cargo test --locked --workspace --test switch_faults --test trouble --test sysbench -- --nocapture

bench: ## Measure the planner, the gate and data moves, beside what they compare with (ten minutes or more)
	tests/scripts/setup sysbench=sysbench haproxy=haproxy python3=python3 mariadb-dump=mariadb-client
	cargo build --release --locked -p vtplan
	cargo build --release --locked -p vtplan-planner --example bench_planner
	tests/scripts/bench

build: setup ## Build target/release/vtplan
	cargo build --release --locked -p vtplan

lint: ## Formatting, clippy and, where it is installed, cargo deny (licences, sources, bans)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@tests/scripts/deny bans licenses sources

audit: ## Known vulnerabilities of the dependencies, by cargo deny (fetches the advisory database)
	@tests/scripts/deny advisories

clean: ## Remove what was built (a running cluster is left alone: see `vtplan down`)
	cargo clean

setup:
	@tests/scripts/setup
