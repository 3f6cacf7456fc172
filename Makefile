# Everything sets itself up: a virtual environment in .venv, from PyPI.

PYTHON ?= python3
RUN := .venv/bin/python
TESTS ?= tb

.PHONY: demo test prove soak mutate lint docs docs-tables test-models test-fpga clean

demo: .venv/demo
	@$(RUN) -m sateen.cli demo

test: .venv/test
	@$(RUN) -m pytest -n 2 --dist worksteal --durations=10 $(TESTS)

# All proofs, and the longest of the other tests; a quick part of them runs in `make test`.
prove: .venv/test
	@$(RUN) -m pytest -n 2 --dist worksteal -m "not fpga" tb/formal
	@$(RUN) -m pytest -n 2 --dist worksteal -m prove --ignore=tb/formal $(TESTS)

# Random tests of the KINDS named, or of all (tb/soak.py), for SECONDS or COUNT rounds, from a SEED on or a random one.
SECONDS ?= $(if $(COUNT),,600)
soak: .venv/test
	@$(RUN) tb/soak.py $(KINDS) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

# Mutants of the TARGET named, or of all (tb/mutation/targets.py): as many of each as it says, or SAMPLE.
# FLAGS=--fresh forgets what is known from earlier runs.
mutate: .venv/test
	@nice -n 10 $(RUN) tb/mutation/mutate.py $(TARGET) $(if $(SAMPLE),--sample $(SAMPLE)) $(FLAGS)

lint: .venv/dev
	@$(RUN) -m ruff check .
	@# Types and imports are seen in a plain install only: the package's folders are not where its names say.
	@rm -rf build && $(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --target build/types .
	@cd build/types && ../../$(RUN) -m mypy --config-file ../../pyproject.toml -p sateen
	@cd build/types && PYTHONPATH=. ../../.venv/bin/lint-imports ../../pyproject.toml

# The documentation site: build/site/index.html.
docs: .venv/docs
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet
	@echo "build/site/index.html"

# The tables of docs/ and the README that are made from the source and from bench/results.json, and the pictures.
docs-tables: .venv/test
	@$(RUN) bench/operators.py docs/operators.md
	@$(RUN) bench/tables.py
	@cd docs && ../$(RUN) -m making.pictures

test-models: .venv/test
	@SATEEN_CXXFLAGS=-O2 $(RUN) -m pytest -m "models or not models and not fpga" $(TESTS)/system/test_models.py

test-fpga: .venv/test
	@$(RUN) -m pytest -m fpga $(TESTS)

# An environment has the extra that its stamp is named after; a change of pyproject.toml renews it.
.venv/%: pyproject.toml setup_environment.py
	@$(PYTHON) setup_environment.py $*
	@touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
