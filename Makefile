# Two commands on a fresh machine: `make demo` and `make test`. Each prepares all it needs.
SHELL := /bin/bash
BIN := .venv/bin

.PHONY: setup demo test check unit simulation integration browser bench soak docs lock down clean

setup: ## everything that demo and test need, from nothing
	@scripts/setup

demo: setup ## bring the whole platform up, break it, and show that nobody noticed
	@$(BIN)/python -m siaga.cli.demo

down: ## stop the platform; its data stays
	@$(BIN)/siaga down

check: setup ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup unit simulation integration browser ## every test

unit: setup
	$(BIN)/pytest tests/unit -n 2 -q

simulation: setup
	$(BIN)/pytest tests/simulation -n 2 --dist worksteal -q

integration: setup
	$(BIN)/pytest tests/integration -q -m "not alone" -n 2 --dist loadfile --durations=25
	$(BIN)/pytest tests/integration -q -m alone --durations=40

browser: setup
	@if compgen -G "tests/browser/test_*.py" >/dev/null; then $(BIN)/pytest tests/browser -q; fi

bench: setup ## side by side with the peers, figures into benchmarks/*/results
	$(BIN)/python -m benchmarks.traffic --keep
	$(BIN)/python -m benchmarks.evidence --keep
	$(BIN)/python -m benchmarks.ledger --keep
	$(BIN)/python -m benchmarks.ledger_release --keep
	$(BIN)/python -m benchmarks.journal --keep
	$(BIN)/python -m benchmarks.uptime

soak: setup ## the long fault campaigns; their last results are in docs/soak.md
	$(BIN)/python -m benchmarks.simulation --hours $${SIAGA_SIM_HOURS:-20000}
	SIAGA_SIM_RUNS=100000 SIAGA_SIM_CALENDAR_YEARS=100 SIAGA_SIM_QUIET_HOURS=10 $(BIN)/pytest tests/simulation -n 2 --dist worksteal -q
	SIAGA_EVIDENCE_KILLS=200 $(BIN)/pytest tests/integration/evidence/test_killed_while_recording.py -q
	$(BIN)/python -m benchmarks.runbooks
	$(BIN)/python -m benchmarks.takeover
	$(BIN)/python -m benchmarks.journal --soak 10 --keep
	$(BIN)/python -m benchmarks.ledger.faults
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.minutes

docs: setup ## regenerate the pages under docs/sop
	$(BIN)/python -m siaga.sop.pages docs/sop

lock: ## renew the lock file (hashes, and no registry's address)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --group dev pyproject.toml -o requirements.lock

clean: ## remove what setup made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache
