"""Training of one model with one seed, from collection to checkpoint."""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from dynaclr.config.training import starting_checkpoints
from dynaclr.io.artifacts import (
    digest_file_of,
    digest_json,
    digest_path,
    read_json,
    verified_digest,
    write_digest,
    write_json,
    write_text,
)
from dynaclr.io.code_digest import code_digest
from dynaclr.training.builder import TrainingCLI, build, with_data
from dynaclr.training.callbacks import EpochLog, MetricsHistory, ResumeCheckpoint, StepSeed
from dynaclr.training.checkpoints import (
    CheckpointsWithDigest,
    find_resume_point,
    read_checkpoint,
    write_checkpoint,
)
from dynaclr.training.folder_lock import only_training_in
from dynaclr.training.hardware import check_gpus, cpu_type
from dynaclr.training.launch import (
    CheckWorldSize,
    count_processes,
    environment_plugins,
    is_first_process,
    requeue_preempted_job,
    set_loader_workers,
)
from dynaclr.training.provenance import environment

log = logging.getLogger(__name__)

# What holds unless the configuration says otherwise.
TRAINER_DEFAULTS = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "deterministic": "warn",
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
}


def train(
    training: dict[str, Any],
    collection: Path,
    experiments: Path,
    seed: int,
    out_dir: Path,
    threads: int = 2,
    save_minutes: float = 5.0,
    keep_work: bool = False,
) -> None:
    """Train a model and write its checkpoints, history, configuration and provenance.

    A run that was stopped or killed goes on from where it was last saved when it is started again
    with the same configuration, data and seed. The result is the same to the bit; where it trains
    on a CPU, a CPU of another type starts anew, since it rounds otherwise.

    Parameters
    ----------
    training : dict
        Training configuration with the keys ``model``, ``data`` and ``trainer``.
    collection : Path
        Folder of the merged collection.
    experiments : Path
        Folder of the per-experiment results (statistics).
    seed : int
        Seed of everything random.
    out_dir : Path
        Gets ``best.ckpt``, ``last.ckpt``, ``config.yaml``, ``metrics.csv``,
        ``provenance.json`` and, while it trains already, the folder ``tensorboard``.
    threads : int
        CPU threads of torch; part of what makes results the same to the last bit.
    save_minutes : float
        Minutes after which a run is saved within an epoch; the end of an epoch always is.
    keep_work : bool
        Keep what a resume needs in the folder ``.work``, though the run has finished: if the
        products are deleted, they are made again at once.

    Raises
    ------
    UserError
        When the configuration or the data do not fit, when torch cannot use the GPUs that this
        job was given, or when another training writes to `out_dir`.
    SystemExit
        With `os.EX_TEMPFAIL`, after SIGTERM or SIGUSR1.
    """
    torch.set_num_threads(threads)
    trainer = training.get("trainer") or {}
    if trainer.get("accelerator") != "cpu":
        check_gpus()
    inputs = _inputs(training, collection, experiments)
    # A run that another version of the code, or another type of CPU, began is not resumed.
    code = code_digest("training.fit", config=training)
    key = digest_json([training, inputs, seed, threads, code, cpu_type(trainer)])
    work = out_dir / ".work" / key[:16]
    devices, nodes = count_processes(trainer)
    history = MetricsHistory()
    best = ModelCheckpoint(
        work, "best", monitor="loss/val", mode="min", enable_version_counter=False
    )
    cli = build(
        with_data(training, str(collection), str(experiments), seed),
        "training configuration",
        callbacks=[
            history,
            best,
            # With `save_last`, Lightning would save the last epoch only where it is the best.
            ModelCheckpoint(work, "last", enable_version_counter=False),
            EpochLog(history),
            StepSeed(seed),
            ResumeCheckpoint(work / "last.ckpt", save_minutes),
            CheckWorldSize(devices * nodes),
        ],
        loggers=[TensorBoardLogger(out_dir, name="tensorboard", version="")],
        plugins=[*environment_plugins(), CheckpointsWithDigest()],
        trainer_defaults=TRAINER_DEFAULTS | {"default_root_dir": str(work)},
    )
    set_loader_workers(cli.datamodule, devices, threads, "num_workers" in training["data"])
    with only_training_in(out_dir):
        _remove_other_runs(out_dir, work)
        _fit(cli, work)
        if cli.trainer.is_global_zero:
            facts = inputs | {"seed": seed, "threads": threads} | environment()
            write_text(out_dir / "config.yaml", cli.resolved())
            _write_products(out_dir, work, history, best, facts)
            if not keep_work:
                shutil.rmtree(work.parent)


def _fit(cli: TrainingCLI, work: Path) -> None:
    """Train to the end, or until a signal stops it; go on from a checkpoint if there is one."""
    resume = find_resume_point(work, set_aside=is_first_process())
    if resume is not None:
        log.info("resuming from %s", resume)
    try:
        cli.trainer.fit(
            cli.model,
            datamodule=cli.datamodule,
            ckpt_path=resume,
            weights_only=True,
        )
    except SystemExit:
        if cli.trainer.is_global_zero:
            requeue_preempted_job()
        raise


def _inputs(training: dict[str, Any], collection: Path, experiments: Path) -> dict[str, Any]:
    """Digests of everything that a training reads but pixels."""
    names = [entry["name"] for entry in read_json(collection / "registry.json")]
    return {
        "index": verified_digest(collection / "index.arrow"),
        "statistics": {
            name: verified_digest(experiments / name / "statistics.parquet") for name in names
        },
        "checkpoints": {
            key: _digest_start(Path(path)) for key, path in starting_checkpoints(training).items()
        },
    }


def _digest_start(checkpoint: Path) -> str:
    """Digest of a checkpoint to start from; checked where this package has made it."""
    has_digest = digest_file_of(checkpoint).is_file()
    return verified_digest(checkpoint) if has_digest else digest_path(checkpoint)


def _remove_other_runs(out_dir: Path, work: Path) -> None:
    """Remove what unfinished runs of other configurations, data or code have left."""
    if not is_first_process():
        return
    for folder in (out_dir / ".work").glob("*"):
        if folder != work:
            shutil.rmtree(folder)
    if not work.is_dir() and (out_dir / "tensorboard").is_dir():
        shutil.rmtree(out_dir / "tensorboard")
    work.mkdir(parents=True, exist_ok=True)


def _write_products(
    out_dir: Path,
    work: Path,
    history: MetricsHistory,
    best: ModelCheckpoint,
    facts: dict[str, Any],
) -> None:
    history.write_csv(out_dir / "metrics.csv")
    epoch = _publish(work / "best.ckpt", out_dir / "best.ckpt")
    _publish(work / "last.ckpt", out_dir / "last.ckpt")
    score: Any = best.best_model_score
    checkpoint = write_digest(out_dir / "best.ckpt")
    result = {"checkpoint": checkpoint, "best_epoch": epoch, "best_loss": float(score)}
    write_json(out_dir / "provenance.json", facts | result)


def _publish(source: Path, target: Path) -> int:
    """Write the weights alone, without optimiser state and paths; return their epoch."""
    whole = read_checkpoint(source)
    kept = {
        "state_dict": whole["state_dict"],
        "epoch": whole["epoch"],
        "global_step": whole["global_step"],
        "pytorch-lightning_version": version("lightning"),
    }
    write_checkpoint(kept, target)
    return kept["epoch"]
