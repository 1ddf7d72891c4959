# Everything runs in an environment of its own, made on demand.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup demo test test-bounds lint format gate benchmark clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: setup
	@for file in seeds/*.txt seeds/*.md; do \
	  printf '\n==> %s: cleaned text\n\n' "$$file"; \
	  $(BIN)/dedup clean "$$file" --map $(VENV)/map.jsonl || exit 1; \
	  printf '\n==> %s: map\n\n' "$$file"; \
	  cat $(VENV)/map.jsonl; \
	done

test: setup
	$(BIN)/python -m pytest

# A kernel that reads past its arrays dies without a word; here it says where.
test-bounds: setup
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(VENV)/bounds $(BIN)/python -m pytest -m 'not long' \
	  tests/test_kernels.py tests/test_laws.py tests/test_pairs.py tests/test_corpus.py tests/test_maps.py tests/test_scratch.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Instructions are counted where valgrind is; without it the rest is checked.
gate: setup
	$(BIN)/python -m benchmarks gate

benchmark: setup
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks all

clean:
	rm -rf $(VENV) build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
