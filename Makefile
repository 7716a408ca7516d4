# Everything a contributor runs. test and test-vm install what they need.
PYTHON = .venv/bin/python

.PHONY: deps lint unit test cycles bench

deps:
	tests/deps.sh

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

unit:
	$(PYTHON) -m pytest tests/unit tests/golden

# The README's test command: sudo make test
test: deps lint
	$(PYTHON) -m pytest tests/unit tests/golden tests/kernel tests/e2e tests/install

# 1000 starts and stops, 100 SIGKILLs of the front and of the engine
cycles:
	TCCAP_CYCLES=1000 TCCAP_KILLS=100 $(PYTHON) -m pytest -s tests/e2e/test_cycles.py

# Tables only, nothing to pass: sudo make bench, or SHORT=1 for a quick look
bench:
	SHORT=$(SHORT) PYTHONPATH=src:tests:. $(PYTHON) -m bench
