"""`dynaclr fit`, `validate` and `predict`: Lightning's command line on models of this package."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaclr.config import Problems, UserError
from dynaclr.config.training import merge_trainings, name_model_class, read_training
from dynaclr.data import MultiExperimentDataModule
from dynaclr.inference.embedding import write_embeddings
from dynaclr.io.artifacts import digest_path
from dynaclr.training.builder import (
    add_common_arguments,
    as_list,
    check_encoder,
    check_schedules,
    check_sections,
    common_options,
    lacking_hardware,
    wrong_key,
)
from dynaclr.training.callbacks import ResumePoints, StepSeed
from dynaclr.training.launch import (
    WorldSize,
    count_processes,
    environment_plugins,
    launch,
    refuse_processes,
)
from dynaclr.training.weights import load_encoder

log = logging.getLogger(__name__)

# From one save within an epoch to the next, as in `dynaclr train`.
_SAVE_MINUTES = 5.0


class CommandLine(LightningCLI):
    """Parses a command with its arguments, builds model, data and trainer, and runs it.

    Parameters
    ----------
    arguments : list of str
        ``fit``, ``validate`` or ``predict`` and what follows it.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._where = f"dynaclr {arguments[0]}"
        silent = {"exit_on_error": False}
        super().__init__(
            args=arguments,
            parser_kwargs=silent | {command: dict(silent) for command in self.subcommands()},
            **common_options(),
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Commands, and which arguments of the trainer's methods they do not take."""
        taken = {"model", "datamodule", "weights_only"}
        return {
            "fit": taken | {"train_dataloaders", "val_dataloaders"},
            "validate": taken | {"dataloaders", "verbose"},
            "predict": taken | {"dataloaders", "return_predictions"},
        }

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Add what all command lines of a training share."""
        add_common_arguments(parser)

    def parse_arguments(self, parser: Any, args: list[str]) -> None:
        """Take the given arguments; those of the process may be a launcher's."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise wrong_key(error, self._where) from error

    def before_instantiate_classes(self) -> None:
        """Become several processes where the trainer asks for them."""
        checkpoint = self._get(self.config, "ckpt_path")
        if checkpoint not in (None, "last") and not Path(checkpoint).is_file():
            raise UserError(f"{self._where}: ckpt_path: {checkpoint}: no such file.")
        trainer = self._get(self.config, "trainer").as_dict()
        if self.subcommand == "predict":
            refuse_processes(trainer)
        else:
            launch({"trainer": trainer}, sys.argv[1:])

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, and compare them before any data is read."""
        try:
            super().instantiate_classes()
        except (ImportError, TypeError, ValueError) as error:
            raise wrong_key(error, self._where) from error
        except MisconfigurationException as error:
            raise lacking_hardware(error, self._where) from error
        check_encoder(self.model, self.datamodule, self._where)
        check_schedules(self.model, self.trainer, self._where)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what makes every step the same whatever ran before it, and what saves a fit."""
        configured = self._get(self.config_init, "trainer")
        callbacks = [
            *as_list(configured.callbacks),
            StepSeed(self._get(self.config, "seed_everything")),
        ]
        if self.subcommand == "fit":
            callbacks += self._guards(configured, callbacks)
        return super().instantiate_trainer(
            callbacks=callbacks,
            plugins=[*as_list(configured.plugins), *environment_plugins()],
            **kwargs,
        )

    def _guards(self, configured: Any, callbacks: list[Callback]) -> list[Callback]:
        """What stops a fit at a signal so that it can go on, and refuses other processes."""
        devices, nodes = count_processes(self._get(self.config, "trainer").as_dict())
        guards: list[Callback] = [WorldSize(devices * nodes)]
        if configured.enable_checkpointing is False:
            return guards
        if not any(isinstance(callback, Checkpoint) for callback in callbacks):
            # Lightning's own, which it leaves out where there is another.
            guards.append(ModelCheckpoint())
        folder = Path(configured.default_root_dir or Path.cwd())
        last = ModelCheckpoint(
            folder, "last", monitor="step", mode="max", enable_version_counter=False
        )
        return [*guards, last, ResumePoints(folder / "last.ckpt", _SAVE_MINUTES, _say_how)]

    def fit(self, **arguments: Any) -> None:
        """Train, from `ckpt_path` on if it is given."""
        self.trainer.fit(**arguments, weights_only=True)

    def validate(self, **arguments: Any) -> None:
        """Print the metrics of the validation data."""
        self.trainer.validate(**arguments, weights_only=True)

    def predict(
        self,
        model: LightningModule,
        datamodule: MultiExperimentDataModule,
        ckpt_path: str | None = None,
    ) -> None:
        """Embed every observation of every experiment of the collection, as `dynaclr embed`.

        Writes ``<trainer.default_root_dir>/embeddings/<experiment>.zarr``.
        """
        if ckpt_path is not None:
            try:
                load_encoder(model.encoder, Path(ckpt_path))
            except ValueError as error:
                raise UserError(f"{self._where}: ckpt_path: {error}") from error
        facts = {
            "variant": "untrained" if ckpt_path is None else "trained",
            "checkpoint": None if ckpt_path is None else digest_path(Path(ckpt_path)),
            "config": yaml.safe_load(self._parser("predict").dump(self.config["predict"])),
        }
        datamodule.setup("predict")
        for name in datamodule.index.experiments:
            out = Path(self.trainer.default_root_dir) / "embeddings" / f"{name}.zarr"
            write_embeddings(
                {out: model.encoder},
                {out: facts},
                datamodule,
                datamodule.experiments / name,
                datamodule.batch_size,
                self.trainer.strategy.root_device,
            )


def _say_how(told: str) -> None:
    log.info("%s if --ckpt_path names it", told)


def run_trainer(arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate`` or ``predict``; faults of the configuration are told plainly.

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
    CommandLine(with_inherited(arguments))


def with_inherited(arguments: Sequence[str]) -> list[str]:
    """Arguments with configuration files as one text: merged as files that inherit are."""
    command, *rest = arguments
    content, others, waiting, problems = None, [], list(rest), Problems()
    while waiting:
        argument = waiting.pop(0)
        option, _, named = argument.partition("=")
        if option not in ("-c", "--config"):
            others.append(argument)
            continue
        if not named and not waiting:
            raise UserError(f"dynaclr {command}: {option} names no file.")
        content = merge_trainings(
            content or {}, read_training(named or waiting.pop(0), problems) or {}
        )
    problems.raise_if_any()
    if content is None:
        return [command, *others]
    check_sections(content, f"dynaclr {command}", "ckpt_path")
    # Before the others: what stands on the command line wins.
    return [command, "--config", json.dumps(name_model_class(content)), *others]
