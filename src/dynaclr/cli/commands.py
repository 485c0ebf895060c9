"""The stages as functions of files: arguments in, products out, no logic.

Each import stands inside its function, so that a command loads only what it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def check(config: str = "config/config.yaml") -> None:
    """Check a project's configuration, its experiments on disk and its training files.

    Args:
        config: The project configuration (YAML).
    """
    from dynaclr.experiments.project import load_project, load_training
    from dynaclr.training import check_training

    project = load_project(config)
    for model in project.models.values():
        check_training(load_training(model.training, model.overrides), str(model.training))
    print(
        f"{config}: {len(project.registry)} experiments, {len(project.collections)} collections, "
        f"{len(project.models)} models: no fault found"
    )


def schema(out: Path = Path("workflow/schemas")) -> None:
    """Write the JSON schemas of the project configuration and of an experiment entry.

    Args:
        out: Folder for config.schema.json and experiment.schema.json.
    """
    from dynaclr.experiments import ExperimentConfig
    from dynaclr.experiments.files import write_json
    from dynaclr.experiments.project import ProjectConfig

    write_json(out / "config.schema.json", ProjectConfig.model_json_schema())
    write_json(out / "experiment.schema.json", ExperimentConfig.model_json_schema())


def index(entry: str, out: Path) -> None:
    """Make the cell index of one experiment from its plate's metadata and tracking tables.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for cells.parquet, summary.json and qc.svg.
    """
    from dynaclr.experiments import load_entry
    from dynaclr.index import build_index

    build_index(load_entry(entry), out)


def statistics(entry: str, out: Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment in one pass over its pixels.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for statistics.parquet and intensity.svg.
        threads: Frames read and counted at the same time.
    """
    from dynaclr.data import compute_statistics
    from dynaclr.experiments import load_entry

    compute_statistics(load_entry(entry), out, threads)


def merge(
    experiments: Path,
    train: list[str],
    out: Path,
    validation: list[str] | None = None,
    validation_fov_fraction: float | None = None,
    seed: int = 0,
) -> None:
    """Merge the indexes of several experiments into one collection.

    Args:
        experiments: Folder that holds <experiment>/cells.parquet.
        train: Experiments to train on.
        out: Folder for index.arrow, registry.json, manifest.json and composition.svg.
        validation: Experiments kept whole for validation.
        validation_fov_fraction: Instead: share of each experiment's fields of view.
        seed: Seed that chooses those fields of view.
    """
    from dynaclr.index import merge_indexes

    merge_indexes(
        [experiments / name for name in sorted({*train, *(validation or [])})],
        out,
        train=train,
        validation=validation or [],
        validation_fov_fraction=validation_fov_fraction,
        seed=seed,
    )


def train(
    training: str,
    collection: Path,
    experiments: Path,
    out: Path,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Train a model; started again after a kill, it goes on where it was.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
        collection: Folder of the merged collection.
        experiments: Folder that holds <experiment>/statistics.parquet.
        out: Folder for checkpoints, history, configuration and provenance.
        seed: Seed of everything random.
        threads: CPU threads.
    """
    from dynaclr.experiments.project import load_training
    from dynaclr.training import train as run

    run(load_training(training), collection, experiments, seed, out, threads)


def embed(
    model: Path,
    experiment: Path,
    out: Path,
    variant: Literal["trained", "untrained", "intensity"] = "trained",
    batch_size: int = 512,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment.

    Args:
        model: Folder of a trained model.
        experiment: Folder of an experiment's results.
        out: AnnData zarr store to write.
        variant: The trained encoder, the untrained one, or intensity statistics.
        batch_size: Patches of a batch.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.training import embed as run

    run(model, experiment, out, variant, batch_size, threads, device)
