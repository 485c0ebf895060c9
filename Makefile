# make demo   the whole workflow on simulated experiments, to results/report.html
# make test   the tests that take minutes, or those of TESTS; VENV and PYTHON choose another
#             environment folder and interpreter
# make test-slow   the long ones
# make test-slurm   the cluster profile on a SLURM of this machine; needs root and Debian
# make test-oldest-snakemake   plan and run with the oldest Snakemake that the Snakefile allows
# make conformance   encoders against the public VisCy models, which need Python 3.12 or later
# make benchmarks-smoke   every script of tests/benchmarks, on little data
# make lint   style, types, and the import contracts between the rooms of src/dynaclr

.PHONY: demo test test-slow test-all test-slurm test-oldest-snakemake conformance \
	benchmarks-smoke lint figures environment clean
SHELL := /bin/bash
VENV ?= .venv
READY := $(VENV)/.complete
ACTIVATE := source $(VENV)/bin/activate
# Two processes; a file's tests share what they prepare.
PYTEST := pytest --numprocesses 2 --dist loadfile
# Of CI and of `make test-slow` alike: SLURM and benchmarks are run by targets of their own.
APART := --ignore tests/slurm --ignore tests/benchmarks --ignore tests/conformance

demo: $(READY)
	$(ACTIVATE) && snakemake --profile workflow/profiles/local

test: $(READY)
	$(ACTIVATE) && $(PYTEST) -m "not slow" $(TESTS)

test-slow: $(READY)
	$(ACTIVATE) && $(PYTEST) -m slow $(APART) --durations=15 $(TESTS)

test-all: $(READY)
	$(ACTIVATE) && $(PYTEST) $(APART)

# Its tests mostly wait, so several of them run side by side on the one SLURM of the machine.
test-slurm: $(READY)
	$(ACTIVATE) && python -m tests.slurm.cluster with \
		pytest --numprocesses 4 --dist worksteal --durations=0 $(or $(TESTS),tests/slurm)

# Found before the environment's own: in a folder that PYTHONPATH names.
test-oldest-snakemake: OLDEST = $(shell sed -n 's/^min_version("\(.*\)")/\1/p' Snakefile)
test-oldest-snakemake: $(READY)
	$(ACTIVATE) && rm -rf $(VENV)/oldest && uv pip install --quiet --target $(VENV)/oldest \
		--constraint <(grep -v ^snakemake envs/lock.txt) snakemake==$(OLDEST) && \
	export PYTHONPATH=$(abspath $(VENV)/oldest) && \
	snakemake --version | grep --fixed-strings $(OLDEST). && \
	snakemake --cores 2 --dry-run --quiet && \
	pytest --durations=0 tests/workflow/test_simulated.py -k changed_truth

# In a folder of their own and without what they depend on, they leave the environment as it is.
conformance: $(READY)
	$(ACTIVATE) && uv pip install --quiet --no-deps --target $(VENV)/viscy \
		--requirements envs/viscy.txt && pytest tests/conformance

benchmarks-smoke: $(READY)
	$(ACTIVATE) && pytest --durations=0 tests/benchmarks

lint: $(READY)
	$(ACTIVATE) && ruff check . && ruff format --check . && snakefmt --check Snakefile workflow \
		&& snakemake --lint && lint-imports && mypy

$(READY): envs/lock.txt envs/setup.sh envs/torchvision_cpu/* pyproject.toml
	bash envs/setup.sh $(VENV)

figures: $(READY)
	$(ACTIVATE) && python docs/rulegraph.py

environment: $(READY)
	$(ACTIVATE) && python envs/write_environment.py

clean:
	rm -rf results logs data/demo .snakemake
