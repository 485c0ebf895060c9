# The project's configuration, checked, and what its jobs depend on and ask for.
#
# `plan` says what a job uses (src/dynaclr/workflow/plan.py), `paths` where products lie, `cluster`
# what a job asks of a cluster.

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from snakemake.utils import update_config

from dynaclr.cli.run import shell_prefix
from dynaclr.config import UserError
from dynaclr.config.project import load_project, read_mapping
from dynaclr.config.site import SiteConfig, check_destination, load_site
from dynaclr.io import check_all_on_disk
from dynaclr.io.artifacts import digest_path, digest_text
from dynaclr.io.code_digest import code_digest
from dynaclr.io.file_cache import use_cache_folder
from dynaclr.workflow.ceiling_plan import CeilingPlan
from dynaclr.workflow.evaluation_plan import EvaluationPlan
from dynaclr.workflow.fingerprint import label_fingerprint
from dynaclr.workflow.frozen_plan import FrozenPlan
from dynaclr.workflow.paths import RESULTS, Paths
from dynaclr.workflow.plan import NATIVE, Plan
from dynaclr.workflow.resources import JobResources
from dynaclr.workflow.slurm import check_no_live_jobs, check_slurm

SOURCE = Path(workflow.basedir) / "src"
PROJECT_FILE = Path(os.path.relpath(workflow.configfiles[-1]))
SITE_FILE = Path(workflow.basedir) / "config/site.yaml"
BEGUN = time.time()
paths = Paths()

# Commands run this clone's package, in whichever environment Snakemake provides, and find modules
# of the user's own beside the project file.
shell.prefix(shell_prefix(SOURCE, PROJECT_FILE.parent))
sys.path.append(str(PROJECT_FILE.parent.absolute()))


def stop(error):
    """End Snakemake with one message."""
    print(f"dynaclr: {error}", file=sys.stderr)
    sys.exit(2)


def read_configuration():
    """What the configuration says, the validated project, and the site's settings, if any.

    The files are read as every command reads them. Snakemake takes 3:30 for 210, and of a key that
    is there twice the second.
    """
    content = {}
    try:
        for file in workflow.configfiles:
            update_config(content, read_mapping(Path(file)))
        update_config(content, workflow.config_settings.config)
        # Jobs on other nodes read these again; the first process has checked the disk for them.
        check_files = check_all_on_disk if workflow.is_main_process else None
        project = load_project(content, PROJECT_FILE, check_files=check_files)
        return content, project, load_site(SITE_FILE)
    except UserError as error:
        stop(error)


def check_models():
    """Build every model from its configuration before any job runs.

    That takes seconds, so what was found sound is noted.
    """
    used = [
        [configuration, code_digest("training.check")],
        [[plan.training(name), plan.external_checkpoints(name)] for name in models],
        [plan.code_of_training(name) for name in models],
        [frozen.content(name) for name in frozen.models],
        [entry.model_dump_json() for entry in registry.values()],
        [plan.plate_content(name) for name in registry if registry[name].patch_store],
    ]
    note = Path(paths.cache, "checked", digest_text(json.dumps(used, sort_keys=True)))
    if note.exists():
        return
    command = [sys.executable, "-m", "dynaclr", "check", "--project", str(PROJECT_FILE)]
    command += ["--content", plan.json_file(configuration)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(2)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def forget_missing_simulations():
    """Let a simulation whose plate is gone be made again."""
    for name, entry in registry.items():
        summary = Path(paths.experiment("simulation.json", name))
        if entry.simulation and summary.exists() and not entry.data_path.exists():
            print(
                f"{entry.data_path} is gone; it will be simulated again.",
                file=sys.stderr,
            )
            summary.unlink()


def one_of(names):
    """Regular expression of a wildcard that is one of some names; of no names, of nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def check_cluster():
    """Stop before the first job if jobs would hang, or run twice."""
    on_slurm = workflow.executor_plugin.name == "slurm"
    try:
        if on_slurm:
            on_gpus = list(filter(cluster.on_gpus, models))
            check_destination(site, SITE_FILE, on_gpus)
            used = {cluster.site.partition, *map(cluster.partition, models)} - {None}
            check_slurm(workflow.executor_settings.status_command, used)
        check_no_live_jobs(on_slurm)
    except UserError as error:
        stop(error)


def print_headlines():
    """Say where the report is that this run has made, and how each model did."""
    page = Path(paths.report)
    if not page.exists() or page.stat().st_mtime < BEGUN:
        return
    print(f"\nReport: {paths.report}", file=sys.stderr)
    for model in models:
        headline = Path(paths.evaluation("headline.json", model))
        if headline.is_file():
            text = json.loads(headline.read_text())["text"]
            print(f"{model}: {text}", file=sys.stderr)


if workflow.is_main_process:
    # What was read of plates, tracking tables and modules, by size and time of their files.
    use_cache_folder(paths.cache)

configuration, project, site = read_configuration()
registry, models, collections = project.registry, project.models, project.collections
plan = Plan(project, configuration)
judged, frozen, ceilings = EvaluationPlan(plan), FrozenPlan(plan), CeilingPlan(plan)
cluster = JobResources(plan, site or SiteConfig())


wildcard_constraints:
    experiment=one_of(registry),
    collection=one_of(collections),
    model=one_of(models),
    seed=r"\d+",
    patches="[0-9a-f]{8}",


if workflow.is_main_process:
    forget_missing_simulations()
    try:
        check_models()
    except UserError as error:
        stop(error)
