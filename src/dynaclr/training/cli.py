"""The training configuration as a command line: one YAML file makes model, data and trainer."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningCLI

from dynaclr.data import MultiExperimentDataModule
from dynaclr.experiments import UserError
from dynaclr.training.modules import ContrastiveModule


class TrainingCLI(LightningCLI):
    """Builds a contrastive model, its data and a trainer from a configuration; runs nothing.

    Parameters
    ----------
    args : list of str, dict or Namespace
        Command line arguments, or the content of a training configuration.
    **trainer_defaults
        Trainer arguments that hold unless the configuration says otherwise.
    """

    def __init__(
        self, args: list[str] | dict[str, Any] | Namespace, **trainer_defaults: Any
    ) -> None:
        super().__init__(
            ContrastiveModule,
            MultiExperimentDataModule,
            args=args,
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

    def resolved(self) -> str:
        """Configuration as YAML, with every default filled in."""
        return self.parser.dump(self.config, skip_none=False)


def build(content: dict[str, Any], where: str, **trainer_defaults: Any) -> TrainingCLI:
    """Build model, data and trainer; faults of the configuration are told plainly.

    Parameters
    ----------
    content : dict
        Training configuration.
    where : str
        What to call it in a message.

    Raises
    ------
    UserError
        When a key is unknown, missing or of the wrong type.
    """
    from jsonargparse import ArgumentError

    try:
        return TrainingCLI(content, **trainer_defaults)
    except ArgumentError as error:
        raise UserError(f"{where}: {error}. Correct this key; see config/README.md.") from None


def check_training(content: dict[str, Any], where: str) -> None:
    """Check a training configuration by building everything it names, without any data.

    Raises
    ------
    UserError
        When a key is unknown, missing or of the wrong type.
    """
    build(with_data(content, "collection", "experiments", 0), where, logger=False)


def with_data(
    content: dict[str, Any], collection: str, experiments: str, seed: int
) -> dict[str, Any]:
    """Training configuration with the data that it shall be used on, and the seed."""
    data = content.get("data", {}) | {"collection": collection, "experiments": experiments}
    return content | {"data": data, "seed_everything": seed}
