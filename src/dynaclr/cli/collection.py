"""Commands of a collection: merging its index, and inspecting its batches."""

from __future__ import annotations

from pathlib import Path


def merge(
    experiments: Path,
    train: list[str],
    out: Path,
    validation: list[str] | None = None,
    validation_fov_fraction: float | None = None,
    validation_lineage_fraction: float | None = None,
    seed: int = 0,
) -> None:
    """Merge the indexes of several experiments into one collection.

    Args:
        experiments: Folder of the results of each experiment.
        train: Experiments to train on.
        out: Folder for index.arrow, registry.json and manifest.json.
        validation: Experiments kept whole for validation.
        validation_fov_fraction: Instead: share of each experiment's fields of view.
        validation_lineage_fraction: Or share of each experiment's lineages.
        seed: Seed that chooses those.
    """
    from dynaclr.index import merge_indexes

    merge_indexes(
        [experiments / name for name in sorted({*train, *(validation or [])})],
        out,
        train=train,
        validation=validation or [],
        validation_fov_fraction=validation_fov_fraction,
        validation_lineage_fraction=validation_lineage_fraction,
        seed=seed,
    )


def inspect_batches(
    training: str,
    collection: Path,
    experiments: Path,
    out: Path,
    seed: int = 0,
    epoch: int = 0,
    max_steps: int = 1000,
) -> None:
    """Show what the batches of a training configuration hold, before anything is trained.

    A batch is what all processes of the trainer see in a step.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
        collection: Folder of the merged collection.
        experiments: Folder of the results of each experiment.
        out: Folder for batches.csv, batches.png and batch_pairs.png.
        seed: Seed of the training.
        epoch: Which epoch.
        max_steps: Longer epochs are audited up to this step.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config.training import load_training
    from dynaclr.figures.batches import draw_audit, draw_pairs
    from dynaclr.inference import inspect_batches as run

    quiet_lightning()
    settings = load_training(training)
    audit, pairs = run(settings, collection, experiments, seed, out, epoch, max_steps)
    draw_audit(**vars(audit), path=out / "batches.png")
    draw_pairs(pairs.shown, pairs.patches, pairs.markers, out / "batch_pairs.png")
