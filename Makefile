# The tasks of the project; `make` alone lists them. Each installs what it needs and lacks.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build test compat fmt lint

# memory, or rocksdb for data larger than memory. A binary with RocksDB has both.
run: ENGINE ?= memory
build: ENGINE ?= rocksdb
CLIENT ?= 127.0.0.1:2379
PEER ?= 127.0.0.1:2380
DATA ?= metastore-data

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 16

run: ## builds MetaStore and starts a member on 127.0.0.1:2379 with its data in ./metastore-data; ENGINE=rocksdb
	@scripts/run '$(ENGINE)' '$(CLIENT)' '$(PEER)' '$(DATA)'

build: ## leaves the release binary in bin/metastore, with both engines; ENGINE=memory for one without RocksDB
	@scripts/prepare '$(ENGINE)'
	@scripts/build '$(ENGINE)' release
	@install -D "$$(scripts/target-dir)/release/metastore" bin/metastore
	@echo "built bin/metastore"

test: ## runs all tests; the last line tells how many passed and failed
	@scripts/prepare test
	@scripts/with-ccache cargo xtask test

compat: ## builds etcd and etcdctl 3.7 from their Go modules and links them into compat/bin
	@mkdir -p compat/bin
	@ln -sf "$$(compat/build)"/{etcd,etcdctl} compat/bin/
	@echo "linked compat/bin/etcd and compat/bin/etcdctl"

fmt: ## formats all sources
	@cargo fmt --all

lint: ## format, clippy, documentation and tidy
	@scripts/prepare rocksdb
	@scripts/with-ccache cargo xtask lint
