# Every target makes the environment .venv if it is missing. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
export OMP_NUM_THREADS := 1
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help install demo test compat coverage docs pictures lint format structure bench mutate clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check "setuptools>=77" -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[dev,privacy,vit]" -c constraints.txt
	@touch $(STAMP)

install: $(STAMP) ## Make .venv with the tested versions

demo: $(STAMP) ## Compare baselines on 60 twins and write a report to look at
	$(BIN)/fedtwin-evaluate --figure demo

test: $(STAMP) ## Run the tests
	$(BIN)/python -m pytest -n 2

.compat/installed: pyproject.toml compat/requirements.txt
	$(PYTHON) -m venv .compat
	.compat/bin/pip install --quiet --disable-pip-version-check "torch==2.13.0"
	.compat/bin/pip install --quiet --disable-pip-version-check -r compat/requirements.txt "setuptools>=77"
	.compat/bin/pip install --quiet --disable-pip-version-check --no-build-isolation -e .
	@touch .compat/installed

compat: .compat/installed ## Conformance with gymnasium 1.2.2, and inside RLlib, TorchRL, BenchMARL, SuperSuit and Stable-Baselines3
	.compat/bin/python -m pytest tests/test_views.py tests/test_vector.py compat

# The first run has every test; numba's lines are counted by the second, in which solvers run uncompiled, and those of
# TorchRL's view by the third, where TorchRL is.
coverage: $(STAMP) .compat/installed ## Line coverage of twin, envs and baselines over all tests; fails below 99 %
	$(BIN)/python -m pytest -n 2 --cov=twin --cov=envs --cov=baselines --cov-report=
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m "uncompiled and not large" \
		--cov=twin --cov=envs --cov=baselines --cov-append --cov-report=
	.compat/bin/python -m pytest compat/test_torchrl.py --cov=twin --cov=envs --cov=baselines --cov-append \
		--cov-report=term-missing:skip-covered --cov-fail-under=99

docs: $(STAMP) ## Write the tables of the README and of docs/systems from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/readme.py

pictures: $(STAMP) ## Draw the pictures of the README and of the systems' pages
	$(BIN)/python docs/pictures.py

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/python tools/structure.py imports functions names

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

structure: ## Print imports, lines and lengths; fail where the code leaves the plan
	$(PYTHON) tools/structure.py

bench: $(STAMP) ## Measure speed beside other environments (each in an environment of its own)
	$(BIN)/python benchmarks/run.py

mutate: $(STAMP) ## Break the physics on purpose and check that the tests notice
	$(BIN)/python tests/mutate.py

clean: ## Remove the environment and what was built
	rm -rf .venv .compat .bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
