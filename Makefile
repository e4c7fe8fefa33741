PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/set-up

.PHONY: setup demo test test-heavy test-all clients chaos docs benchmarks pictures

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/nnunet-mcp demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m 'not heavy'

# Trains for real: about half an hour on two cores.
test-heavy: setup
	$(BIN)/python -m pytest -m heavy

test-all: test test-heavy

# Other people's clients, for the heavy tests; needs npm.
clients:
	cd tests/clients && npm install --no-audit --no-fund --silent

N ?= 1000
SEED ?= 1
chaos: setup
	$(BIN)/python -m tests.chaos --events $(N) --seed $(SEED)

docs: setup
	$(BIN)/python -m nnunet_mcp.server.reference README.md

benchmarks: setup
	PYTHONPATH=. $(BIN)/python benchmarks/start_up.py

# Pictures of the documentation, from a real training on a phantom; needs `make clients` and Chromium.
pictures: setup
	$(BIN)/python -m tests.pictures docs/pictures
