# Everything a contributor runs. test and test-vm install what they need.
PYTHON = .venv/bin/python

.PHONY: deps lint unit test

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
