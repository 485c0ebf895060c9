"""Commands of supervised ceilings: an encoder is trained on the labels of a task, and embeds."""

from __future__ import annotations

from functools import partial
from pathlib import Path


def fit(
    training: str,
    labels: str,
    experiments: Path,
    out: Path,
    seed: int = 0,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Train a model's encoder on the labels of a task in the training experiments.

    Args:
        training: YAML or JSON text, or a file: model and data as in a training configuration.
        labels: YAML or JSON text, or a file: task (name, label, source, where), train (names of
            experiments), labels (of each the paths of annotations and truth).
        experiments: Folder of the results of each experiment.
        out: Checkpoint to write (.ckpt).
        seed: Seed of everything random.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config import TaskConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import classes_of
    from dynaclr.inference import train_ceiling

    quiet_lightning()
    chosen = load_training(labels)
    task = TaskConfig.model_validate(chosen["task"])
    labels_of = partial(classes_of, task=task, labels=chosen["labels"])
    folders = [experiments / name for name in chosen["train"]]
    train_ceiling(load_training(training), folders, labels_of, out, seed, threads, device)


def embed(
    training: str,
    checkpoints: list[Path],
    experiment: Path,
    out: Path,
    seed: int = 0,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment by the ceilings of several tasks.

    Args:
        training: As it was given to `ceiling fit`.
        checkpoints: What `ceiling fit` wrote: <task>.ckpt.
        experiment: Folder of an experiment's results.
        out: Folder that gets ceiling-<task>/<experiment>.zarr of each (AnnData).
        seed: As it was given to `ceiling fit`.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config.training import load_training
    from dynaclr.inference import embed_ceilings

    quiet_lightning()
    by_task = {path.name.removesuffix(".ckpt"): path for path in checkpoints}
    embed_ceilings(load_training(training), by_task, experiment, out, seed, threads, device)
