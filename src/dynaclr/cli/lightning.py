"""`dynaclr fit`, `validate` and `predict`: Lightning's command line on models of this package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from dynaclr.config import Problems, UserError
from dynaclr.config.grammar import parse_text
from dynaclr.config.training import merge_trainings, read_training
from dynaclr.inference.embedding_writer import EmbeddingOutput, write_embeddings
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import digest_path
from dynaclr.training.builder import TrainingCLI, as_list, build
from dynaclr.training.callbacks import ResumeCheckpoint, StepSeed
from dynaclr.training.checkpoints import CheckpointsWithDigest
from dynaclr.training.folder_lock import only_training_in
from dynaclr.training.launch import (
    CheckWorldSize,
    check_single_process,
    count_processes,
    environment_plugins,
    launch,
)
from dynaclr.training.weights import load_encoder

# From one save within an epoch to the next, as in `dynaclr train`.
_SAVE_MINUTES = 5.0


class CommandLine(TrainingCLI):
    """Builds model, data and trainer for one command.

    Parameters
    ----------
    content : dict
        What configuration files say.
    command : str
        ``fit``, ``validate`` or ``predict``.
    arguments : sequence of str
        Its options.
    """

    more_sections = ("ckpt_path",)

    def __init__(self, content: dict[str, Any], command: str, arguments: Sequence[str]) -> None:
        self.command = command
        super().__init__(
            content,
            arguments,
            plugins=[*environment_plugins(), CheckpointsWithDigest()],
            parser_kwargs={"prog": f"dynaclr {command}"},
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint to what all trainings share."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="Checkpoint to go on from (fit), or whose weights are used.",
        )

    def before_instantiate_classes(self) -> None:
        """Become several processes where the trainer asks for them."""
        checkpoint = self.config.ckpt_path
        if checkpoint not in (None, "last") and not Path(checkpoint).is_file():
            raise UserError(f"dynaclr {self.command}: ckpt_path: {checkpoint}: no such file.")
        trainer = self.config.trainer.as_dict()
        if self.command == "predict":
            check_single_process(trainer)
        else:
            launch(trainer, sys.argv[1:])

    def run_callbacks(self) -> list[Callback]:
        """What makes every step the same whatever ran before it, and what saves a fit."""
        configured = self.config_init.trainer
        callbacks: list[Callback] = [StepSeed(self.config.seed_everything)]
        if self.command != "fit":
            return callbacks
        devices, nodes = count_processes(self.config.trainer.as_dict())
        callbacks.append(CheckWorldSize(devices * nodes))
        if configured.enable_checkpointing is False:
            return callbacks
        if not any(isinstance(one, Checkpoint) for one in as_list(configured.callbacks)):
            # Lightning's own, which it leaves out where there is another.
            callbacks.append(ModelCheckpoint())
        folder = Path(configured.default_root_dir or Path.cwd())
        last = ModelCheckpoint(
            folder, "last", monitor="step", mode="max", enable_version_counter=False
        )
        save = ResumeCheckpoint(folder / "last.ckpt", _SAVE_MINUTES, " if --ckpt_path names it")
        return [*callbacks, last, save]


def run_trainer(arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate`` or ``predict``.

    Parameters
    ----------
    arguments : sequence of str
        The command and its arguments. Files that ``-c`` or ``--config`` name may inherit from
        others.

    Raises
    ------
    UserError
        As `dynaclr.training.builder.build`; when a file cannot be read.
    """
    command = arguments[0]
    content, options = read_files(arguments)
    name = f"dynaclr {command}"
    cli = build(content, name, CommandLine, command=command, arguments=options)
    if command == "predict":
        _predict(cli)
        return
    given = {"ckpt_path": cli.config.ckpt_path, "weights_only": True}
    if command == "validate":
        cli.trainer.validate(cli.model, datamodule=cli.datamodule, **given)
        return
    with only_training_in(Path(cli.trainer.default_root_dir)):
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, **given)


def _predict(cli: TrainingCLI) -> None:
    """Embed every observation of every experiment of the collection, as `dynaclr embed`.

    Writes ``<trainer.default_root_dir>/embeddings/<experiment>.zarr``.
    """
    encoder, data, checkpoint = cli.model.encoder, cli.datamodule, cli.config.ckpt_path
    if checkpoint is not None:
        try:
            load_encoder(encoder, Path(checkpoint))
        except ValueError as error:
            raise UserError(f"dynaclr predict: ckpt_path: {error}") from error
    facts = {
        "variant": "untrained" if checkpoint is None else "trained",
        "checkpoint": None if checkpoint is None else digest_path(Path(checkpoint)),
        "config": parse_text(cli.resolved()),
    }
    data.setup("predict")
    for name in data.index.experiments:
        path = Path(cli.trainer.default_root_dir) / "embeddings" / f"{name}.zarr"
        observations = Observations(data.experiments / name, data.patches, data.normalization)
        outputs = [EmbeddingOutput(path, encoder, facts)]
        write_embeddings(outputs, observations, data.batch_size, cli.trainer.strategy.root_device)


def read_files(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Merge the configuration files of a command as files that inherit are.

    Parameters
    ----------
    arguments : sequence of str
        The command and its arguments.

    Returns
    -------
    content : dict
        What the files say; later ones win.
    options : list of str
        The other arguments.

    Raises
    ------
    UserError
        When a file cannot be read.
    """
    command, *rest = arguments
    content: dict[str, Any] = {}
    options, problems = [], Problems()
    while rest:
        argument = rest.pop(0)
        option, _, file = argument.partition("=")
        if option not in ("-c", "--config"):
            options.append(argument)
            continue
        if not file and not rest:
            raise UserError(f"dynaclr {command}: {option} names no file.")
        content = merge_trainings(content, read_training(file or rest.pop(0), problems) or {})
    problems.raise_if_any()
    return content, options
