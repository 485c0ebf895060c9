"""Commands of one experiment: simulation, index, statistics, patches."""

from __future__ import annotations

from pathlib import Path


def simulate(entry: str, out: Path, processes: int = 1) -> None:
    """Make an experiment with known truth: plate, tracks, annotations and truth.

    Args:
        entry: The experiment entry with its simulation block (YAML file, or YAML or JSON text).
        out: Folder for simulation.json.
        processes: Fields of view simulated at the same time.
    """
    from dynaclr.config import load_entry
    from dynaclr.io.artifacts import write_json
    from dynaclr.simulation import simulate as run

    summary = run(load_entry(entry), overwrite=True, processes=processes)
    write_json(out / "simulation.json", summary)


def index(entry: str, out: Path) -> None:
    """Make the cell index of one experiment from its plate's metadata and tracking tables.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for cells.parquet and summary.json, and labels if it has annotations.
    """
    from dynaclr.config import load_entry
    from dynaclr.index import build_index

    build_index(load_entry(entry), out)


def labels(entry: str, experiment: Path, columns: list[str] | None = None) -> None:
    """Give the observations of one experiment the labels of its annotations, as index columns.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        experiment: Folder with its cells.parquet; gets labels/<column>.parquet.
        columns: Columns to take; default: all.
    """
    from dynaclr.config import load_entry
    from dynaclr.index import build_labels

    build_labels(load_entry(entry), experiment, columns)


def statistics(entry: str, out: Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment in one pass over its pixels.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for statistics.parquet.
        threads: Frames read and counted at the same time.
    """
    from dynaclr.config import load_entry
    from dynaclr.data import compute_statistics

    compute_statistics(load_entry(entry), out, threads)


def patches(
    entry: str,
    experiment: Path,
    trainings: str,
    threads: int = 2,
    dry_run: bool = False,
) -> None:
    """Store the patches of an experiment for training, each chunk of its plate read once.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        experiment: Folder of the experiment's results; gets patches.zarr and patches.json.
        trainings: What it shall serve, as {trainings: [...]}: the `data` sections of training
            configurations (YAML or JSON text, or a file).
        threads: Fields of view read at the same time.
        dry_run: Only say what it will hold and how many bytes it will have.
    """
    import json

    from dynaclr.config import load_entry
    from dynaclr.config.training import load_training
    from dynaclr.data import PatchSpec, build_patches

    specs = [PatchSpec.of(data) for data in load_training(trainings)["trainings"]]
    report = build_patches(load_entry(entry), experiment, specs, threads, dry_run)
    if dry_run:
        print(json.dumps(report, sort_keys=True))
