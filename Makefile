# make demo   the whole workflow on simulated experiments, to results/report.html
# make test   the tests, or those of TESTS; VENV and PYTHON choose another environment folder and
#             interpreter
# make test-slurm   the cluster profile on a SLURM of this machine; needs root and Debian
# make conformance   encoders against the public VisCy models, which need Python 3.12 or later

.PHONY: demo test test-all test-slurm conformance lint figures environment clean
SHELL := /bin/bash
VENV ?= .venv
READY := $(VENV)/.complete
ACTIVATE := source $(VENV)/bin/activate

demo: $(READY)
	$(ACTIVATE) && snakemake --profile workflow/profiles/local

test: $(READY)
	$(ACTIVATE) && pytest -m "not slow" --numprocesses 2 --dist loadfile $(TESTS)

test-all: $(READY)
	$(ACTIVATE) && pytest --numprocesses 2 --dist loadfile --ignore tests/slurm

# One SLURM for the machine, so one process.
test-slurm: $(READY)
	$(ACTIVATE) && pytest --durations=0 $(or $(TESTS),tests/slurm)

# In a folder of their own and without what they depend on, they leave the environment as it is.
conformance: $(READY)
	$(ACTIVATE) && uv pip install --quiet --no-deps --target $(VENV)/viscy \
		--requirements envs/viscy.txt && pytest tests/conformance

lint: $(READY)
	$(ACTIVATE) && ruff check . && ruff format --check . && snakefmt --check Snakefile workflow \
		&& snakemake --lint && lint-imports

$(READY): envs/lock.txt envs/setup.sh envs/torchvision_cpu.py pyproject.toml
	bash envs/setup.sh $(VENV)

figures: $(READY)
	$(ACTIVATE) && python docs/rulegraph.py

environment: $(READY)
	$(ACTIVATE) && python envs/write_environment.py

clean:
	rm -rf results logs data/demo .snakemake
