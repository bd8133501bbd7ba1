# Everything a developer types. `make` alone lists it.

PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo image cluster cluster-down test features bench prove generate lint clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## The main job on real input, local and without root (DEMO=kill kills a worker while it works)
	@deploy/demo/run

image: ## The container image as target/cronmill-image.tar, without a container engine
	@$(PYTHON) deploy/image

cluster: ## A real Kubernetes node on this machine with cronmill on it, left running (needs root)
	@$(PYTHON) tests/cluster trial --state .cache/cluster

cluster-down: ## Remove that node and every trace of it
	@$(PYTHON) tests/cluster down --state .cache/cluster

test: ## Every tier of tests, or TIER=unit,redis,…
	@$(PYTHON) tests/run test $(TIER)

features: ## asynq's own list of features, each with the tests that show it here
	@$(PYTHON) tests/run features

bench: ## Throughput beside Go asynq on one Redis, interleaved
	@$(PYTHON) tests/run prove bench

prove: ## One long proof: NAME=…; without a name, lists them
	@$(PYTHON) tests/run prove $(NAME)

generate: ## Write every generated file anew
	cargo run --quiet --features codegen --bin generate -- write .
	cd tests/charts && go run . write

lint: ## Formatting, warnings, licences
	@$(PYTHON) tests/run test lint

clean: cluster-down ## Remove what was built, here and in the cache
	cargo clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/cronmill"
