"""The stages as functions of files: arguments in, products out, no logic.

Each import stands inside its function, so that a command loads only what it needs.
"""

from __future__ import annotations

from pathlib import Path


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


def check_training(training: str) -> None:
    """Check a training configuration by building model, data and trainer from it.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
    """
    from dynaclr.experiments.project import load_training
    from dynaclr.training import check_training as run

    run(load_training(training), "training configuration")


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


def simulate(entry: str, out: Path, processes: int = 1) -> None:
    """Make an experiment with known truth: plate, tracks, annotations and truth.

    Args:
        entry: The experiment entry with its simulation block (YAML file, or YAML or JSON text).
        out: Folder for simulation.json and simulation.png.
        processes: Fields of view simulated at the same time.
    """
    from dynaclr.experiments import load_entry
    from dynaclr.experiments.files import write_json
    from dynaclr.simulation import overview_figure
    from dynaclr.simulation import simulate as run

    experiment = load_entry(entry)
    summary = run(experiment, overwrite=True, processes=processes)
    overview_figure(experiment, out / "simulation.png")
    write_json(out / "simulation.json", summary)


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
    trained: Path | None = None,
    untrained: Path | None = None,
    intensity: Path | None = None,
    batch_size: int = 512,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment; each store that is named is written.

    Args:
        model: Folder of a trained model.
        experiment: Folder of an experiment's results.
        trained: AnnData zarr store for the trained encoder.
        untrained: Store for the encoder with the weights it started from, a baseline.
        intensity: Store for intensity statistics of the same patches, a baseline.
        batch_size: Patches of a batch.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.experiments import UserError
    from dynaclr.training import embed as run

    named = {"trained": trained, "untrained": untrained, "intensity": intensity}
    out = {variant: path for variant, path in named.items() if path is not None}
    if not out:
        raise UserError("embed: nothing to write. Name a store: --trained results/x.zarr")
    run(model, experiment, out, batch_size, threads, device)


def evaluate(plan: str, embeddings: Path, out: Path) -> None:
    """Judge a model's embeddings on held-out experiments, beside its baselines.

    Args:
        plan: YAML or JSON text, or a file: variants, train, held_out, labels, tasks, bootstrap.
        embeddings: Folder of the model, with <variant>/<experiment>.zarr.
        out: Folder for tables and figures.
    """
    from dynaclr.evaluation import evaluate_model
    from dynaclr.experiments.project import TaskConfig, load_training

    chosen = load_training(plan)
    stores = {
        variant: {name: embeddings / variant / f"{name}.zarr" for name in chosen["labels"]}
        for variant in chosen["variants"]
    }
    evaluate_model(
        embeddings.name,
        stores,
        chosen["labels"],
        [TaskConfig.model_validate(task) for task in chosen["tasks"]],
        chosen["train"],
        chosen["held_out"],
        out,
        n_bootstrap=chosen["bootstrap"],
    )


COMMANDS = {
    "check": check,
    "check-training": check_training,
    "schema": schema,
    "simulate": simulate,
    "index": index,
    "statistics": statistics,
    "merge": merge,
    "train": train,
    "embed": embed,
    "evaluate": evaluate,
}
