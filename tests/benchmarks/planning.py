"""What Snakemake's planning costs in a large project: time, memory and accesses to the file system.

    python tests/benchmarks/planning.py [--experiments 1000 --models 20 --tables 100]

A project is generated whose results are all made and on record; `snakemake -n` then finds nothing
to do, and after one tracking table was edited lists that experiment's jobs and what uses them.
Each model trains on its own share of the experiments. Both lists are checked. Before them, a plan
is measured that remembers nothing of plates and tables (its time includes the counting).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FOVS_PER_WELL = 10
TRAINING = {
    "model": {
        "encoder": {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"in_channels": 1}}
    },
    "data": {"patches": {"markers": ["phase"], "size": [24, 24]}},
    "trainer": {"max_epochs": 1},
}
# Runs Snakemake and counts what it asks of the file system.
COUNTED = """
import os, resource, sys
counts = {"stats": 0, "opens": 0}
def counted(function):
    def count_call(*arguments, **options):
        counts["stats"] += 1
        return function(*arguments, **options)
    return count_call
os.stat, os.lstat = counted(os.stat), counted(os.lstat)
def count_open(event, arguments):
    counts["opens"] += event == "open"
sys.addaudithook(count_open)
from snakemake.cli import main
try:
    main(sys.argv[1:])
finally:
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"COUNTED {counts['stats']} {counts['opens']} {megabytes}", file=sys.stderr)
"""


def write_plate(folder: Path, n_fovs: int) -> None:
    """Write the metadata of a plate in NGFF 0.4; there are no pixels, and none are read."""
    wells = [f"A/{number + 1}" for number in range(-(-n_fovs // FOVS_PER_WELL))]
    write(folder / ".zattrs", {"plate": {"wells": [{"path": well} for well in wells]}})
    scale = {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    axes = [{"name": name} for name in "tczyx"]
    image = {
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": "Phase2D"}]},
    }
    array = {"zarr_format": 2, "shape": [90, 1, 1, 2048, 2048], "chunks": [1, 1, 1, 512, 512]}
    array |= {"dtype": "<u2", "order": "C", "compressor": None, "filters": None, "fill_value": 0}
    for number, well in enumerate(wells):
        names = [str(fov) for fov in range(min(FOVS_PER_WELL, n_fovs - number * FOVS_PER_WELL))]
        write(folder / well / ".zattrs", {"well": {"images": [{"path": name} for name in names]}})
        for name in names:
            write(folder / well / name / ".zattrs", image)
            write(folder / well / name / "0" / ".zarray", array)


def write(file: Path, content: object) -> None:
    """Write JSON, making folders as needed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_experiment(folder: Path, name: str, n_tables: int) -> None:
    """Write an experiment's plate, tracking tables (each some 7 KB) and entry."""
    plate = folder / "data" / name / "plate.zarr"
    write_plate(plate, n_tables)
    rows = "".join(f"{row},{row % 90},{row * 7 % 2048},{row * 11 % 2048}\n" for row in range(400))
    for number in range(n_tables):
        well, fov = divmod(number, FOVS_PER_WELL)
        table = folder / "data" / name / "tracks" / "A" / str(well + 1) / str(fov) / "tracks.csv"
        table.parent.mkdir(parents=True)
        table.write_text("track_id,t,y,x\n" + rows)
    wells = sorted(json.loads((plate / ".zattrs").read_text())["plate"]["wells"], key=str)
    entry = {
        "name": name,
        "data_path": f"../data/{name}/plate.zarr",
        "tracks_path": f"../data/{name}/tracks",
        "channels": [{"name": "Phase2D", "marker": "phase"}],
        "condition_wells": {"all": [well["path"] for well in wells]},
        "interval_minutes": 30,
        "start_hpi": 0,
    }
    (folder / "experiments").mkdir(exist_ok=True)
    (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(entry))


def write_project(folder: Path, n_experiments: int, n_models: int, n_tables: int) -> None:
    """Write the project, make all its results (empty) and put them on Snakemake's record."""
    names = [f"e{number:04}" for number in range(n_experiments)]
    for name in names:
        write_experiment(folder, name, n_tables)
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    shares = {f"c{model:02}": names[model::n_models] for model in range(n_models)}
    config = {
        "experiments": ["experiments/*.yaml"],
        "collections": {
            name: {"train": share, "validation_fov_fraction": 0.2} for name, share in shares.items()
        },
        "models": {
            f"m{name[1:]}": {"collection": name, "training": "training.yaml"} for name in shares
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    summary = snakemake(folder, "--summary").stdout
    for line in summary.splitlines():
        if line.startswith("results/"):
            product = folder / line.split("\t")[0]
            product.parent.mkdir(parents=True, exist_ok=True)
            product.mkdir() if product.suffix in ("", ".zarr") else product.touch()
    # One job at a time, the scheduler would go over all that are ready after each of them.
    snakemake(folder, "--touch", "--forceall", "--no-hooks", "--cores", "1000")


def snakemake(folder: Path, *arguments: str, start: tuple[str, ...] = ("-m", "snakemake")):
    """Run Snakemake on the project."""
    fixed = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
    done = subprocess.run(
        [sys.executable, *start, *fixed, *arguments], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done


def measure(folder: Path, what: str, cold: bool = False) -> str:
    """Print time, memory, file accesses and opens of a dry run, and return what it said.

    Accesses are counted in a second run, unless the first one counts: then nothing of plates and
    tracking tables is cached.
    """
    begun = time.perf_counter()
    start = ("-c", COUNTED) if cold else ("-m", "snakemake")
    done = snakemake(folder, "-n", start=start)
    seconds = time.perf_counter() - begun
    counted = done if cold else snakemake(folder, "-n", start=("-c", COUNTED))
    stats, opens, megabytes = re.search(r"COUNTED (\d+) (\d+) (\d+)", counted.stderr).groups()
    print(f"{what}: {seconds:.1f} s, {megabytes} MB, {stats} accesses, {opens} opened")
    return done.stdout


def jobs_of_change(folder: Path, name: str) -> Counter[str]:
    """Jobs by rule that a change to an experiment's tracks must lead to, and no others.

    The index is the experiment's own; what follows is of the one collection that trains on it, of
    that collection's model, and of the experiments that this model embeds.
    """
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (share,) = (own["train"] for own in config["collections"].values() if name in own["train"])
    once = ("merge", "inspect_batches", "train", "fit_pixels", "report", "all")
    evaluated = ("fit_evaluation", "evaluate", "map_cells", "draw_evaluation")
    drawn = ("thumbnails", *(f"draw_{what}" for what in ("experiment", "collection", "training")))
    return Counter(
        dict.fromkeys(("index", *once, *drawn, *evaluated), 1)
        | dict.fromkeys(("embed", "embed_baselines", "score"), len(share))
    )


def main() -> None:
    """Generate the project, measure its plans, and list the jobs of the last by rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="keep the project there, or use the one there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "config.yaml").exists():
            write_project(folder, options.experiments, options.models, options.tables)
        shutil.rmtree(folder / ".snakemake/dynaclr", ignore_errors=True)
        assert "Nothing to be done" in measure(folder, "nothing to do, first plan", cold=True)
        assert "Nothing to be done" in measure(folder, "nothing to do")
        with (folder / "data/e0000/tracks/A/1/0/tracks.csv").open("a") as table:
            table.write(f"{time.time_ns()},0,1,1\n")
        said = measure(folder, "one experiment changed")
        jobs = Counter(re.findall(r"^ *(?:local)?rule (\w+):", said, flags=re.MULTILINE))
        print("jobs: " + ", ".join(f"{rule} {count}" for rule, count in sorted(jobs.items())))
        expected = jobs_of_change(folder, "e0000")
        if jobs != expected:
            sys.exit(f"too many: {jobs - expected}; too few: {expected - jobs}")


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    main()
