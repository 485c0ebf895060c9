# make demo   the whole workflow on simulated experiments, to results/report.html
# make test   the tests

.PHONY: demo test test-all lint clean
SHELL := /bin/bash
ACTIVATE := source .venv/bin/activate

demo: .venv/.complete
	$(ACTIVATE) && snakemake --cores all

test: .venv/.complete
	$(ACTIVATE) && pytest -m "not slow"

test-all: .venv/.complete
	$(ACTIVATE) && pytest

lint: .venv/.complete
	$(ACTIVATE) && ruff check . && ruff format --check . && snakefmt --check Snakefile workflow \
		&& snakemake --lint && lint-imports

.venv/.complete: envs/lock.txt envs/setup.sh pyproject.toml
	bash envs/setup.sh .venv

clean:
	rm -rf results logs data/demo .snakemake
