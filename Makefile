# make demo   the whole workflow on simulated experiments, to results/report.html
# make test   the tests; VENV and PYTHON choose another environment folder and interpreter

.PHONY: demo test test-all lint clean
SHELL := /bin/bash
VENV ?= .venv
READY := $(VENV)/.complete
ACTIVATE := source $(VENV)/bin/activate

demo: $(READY)
	$(ACTIVATE) && snakemake --profile workflow/profiles/local

test: $(READY)
	$(ACTIVATE) && pytest -m "not slow" --numprocesses 2 --dist loadfile

test-all: $(READY)
	$(ACTIVATE) && pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(ACTIVATE) && ruff check . && ruff format --check . && snakefmt --check Snakefile workflow \
		&& snakemake --lint && lint-imports

$(READY): envs/lock.txt envs/setup.sh envs/torchvision_cpu.py pyproject.toml
	bash envs/setup.sh $(VENV)

clean:
	rm -rf results logs data/demo .snakemake
