"""The training configuration as a command line: one YAML file makes model, data and trainer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaclr.data import MultiExperimentDataModule
from dynaclr.experiments import Problems, UserError
from dynaclr.training.contrastive import ContrastiveModule


class TrainingCLI(LightningCLI):
    """Builds a contrastive model, its data and a trainer from a configuration; runs nothing.

    Parameters
    ----------
    content : dict
        Training configuration with the keys ``model``, ``data``, ``trainer``, ``seed_everything``.
    callbacks : sequence of Callback
        Added to those that the configuration names.
    loggers : sequence of Logger
        Likewise.
    **trainer_defaults
        Trainer arguments that hold unless the configuration says otherwise.
    """

    def __init__(
        self,
        content: dict[str, Any],
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        **trainer_defaults: Any,
    ) -> None:
        self._callbacks = list(callbacks)
        self._loggers = list(loggers)
        super().__init__(
            ContrastiveModule,
            MultiExperimentDataModule,
            args=content,
            run=False,
            save_config_callback=None,
            # The composed batches already know their replica; Lightning must not wrap them.
            trainer_defaults={"use_distributed_sampler": False, **trainer_defaults},
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Use one seed for weights, batches, positives and augmentation."""
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Take the configuration from the content alone, never from the command line."""
        self.config = parser.parse_object(args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with this run's callbacks and loggers beside the configured ones."""
        configured = self.config_init.trainer
        logger = configured.logger
        named = logger if isinstance(logger, list) else [logger]
        return super().instantiate_trainer(
            callbacks=[*(configured.callbacks or []), *self._callbacks],
            logger=[*self._loggers, *(one for one in named if isinstance(one, Logger))],
            **kwargs,
        )

    def resolved(self) -> str:
        """Configuration as YAML, with every default filled in."""
        return self.parser.dump(self.config, skip_none=False)


def build(content: dict[str, Any], where: str, **options: Any) -> TrainingCLI:
    """Build model, data and trainer; faults of the configuration are told plainly.

    Parameters
    ----------
    content : dict
        Training configuration.
    where : str
        What to call it in a message.
    **options
        Of `TrainingCLI`.

    Raises
    ------
    UserError
        When a key is unknown, missing, of the wrong type or out of range, when the machine lacks
        what the trainer asks for, or when the encoder does not take such patches.
    """
    try:
        cli = TrainingCLI(content, **options)
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: {str(error).rstrip('. ')}. Correct this key; see config/README.md."
        ) from error
    except MisconfigurationException as error:
        raise lacking_hardware(error, where) from error
    _check_encoder(cli, where)
    return cli


def lacking_hardware(error: MisconfigurationException, where: str) -> UserError:
    """What to tell a user whose trainer asks for what the machine lacks."""
    return UserError(
        f"{where}: trainer: {str(error).strip()} Correct `accelerator` and `devices` for this "
        "machine; `accelerator: auto` takes a GPU where there is one."
    )


def _check_encoder(cli: TrainingCLI, where: str) -> None:
    """An encoder that tells the shape of its patches must be given such patches."""
    patches, problems = cli.datamodule.patches, Problems()
    given = {
        "in_channels": (len(patches.markers), "data.patches.markers"),
        "in_stack_depth": (patches.depth, "data.patches.depth"),
    }
    for argument, (number, key) in given.items():
        expected = getattr(cli.model.encoder, argument, number)
        if expected != number:
            problems.add(
                f"{where}: model.encoder",
                f"{argument} is {expected} but {key} gives {number}",
                "Make them equal",
            )
    problems.raise_if_any()


def check_training(content: dict[str, Any], where: str) -> None:
    """Check a training configuration by building everything it names, without any data.

    Raises
    ------
    UserError
        As `build`.
    """
    if not isinstance(content.get("data", {}), dict):
        raise UserError(f"{where}: data is no section of keys. See config/README.md.")
    content = with_data(content, "collection", "experiments", 0)
    if isinstance(content.get("trainer"), dict):
        # The machine that checks is seldom the one that trains.
        content["trainer"] |= {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
    build(content, where)


def with_data(
    content: dict[str, Any], collection: str, experiments: str, seed: int
) -> dict[str, Any]:
    """Training configuration with the data that it shall be used on, and the seed."""
    # The parser changes what it is given.
    content = copy.deepcopy(content)
    content.setdefault("data", {}).update(collection=collection, experiments=experiments)
    return content | {"seed_everything": seed}
