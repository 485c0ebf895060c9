# The project's configuration, and what several stages share.

import json
import os
import re
import shlex
import sys
from pathlib import Path

from dynaclr.experiments import UserError
from dynaclr.experiments.fingerprint import (
    altered,
    code_digest,
    label_fingerprint,
    plate_fingerprint,
    tracks_fingerprint,
)
from dynaclr.experiments.project import load_project, load_training


def read_project():
    """The validated project; on a fault, one message and exit code 2 before any job runs."""
    file = Path(os.path.relpath(workflow.configfiles[-1]))
    try:
        # Jobs on other nodes read this file again; the first process has checked the disk for them.
        return load_project(dict(config), file, on_disk=workflow.is_main_process)
    except UserError as error:
        print(f"dynaclr: {error}", file=sys.stderr)
        sys.exit(2)


project = read_project()
registry, models, collections = project.registry, project.models, project.collections


wildcard_constraints:
    experiment="|".join(map(re.escape, registry)),
    collection="|".join(map(re.escape, collections)),
    model="|".join(map(re.escape, models)),
    seed=r"-?\d+",


def entry_of(experiment, *left_out):
    """An experiment's entry as JSON text, without the keys that a stage does not use."""
    return json.dumps(registry[experiment].dump(exclude=set(left_out)), sort_keys=True)


def simulation_of(experiment):
    """What an experiment's plate and tables wait for: its simulation, if it has one."""
    if registry[experiment].simulation is None:
        return []
    return f"results/experiments/{experiment}/simulation.json"


def source_of(experiment, fingerprint):
    """Content of a real experiment's source; a simulated one is known by its simulation."""
    return "" if simulation_of(experiment) else fingerprint(registry[experiment])


def experiment_files(names, *files):
    return [f"results/experiments/{name}/{file}" for name in names for file in files]
