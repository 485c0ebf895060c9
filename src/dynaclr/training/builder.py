"""The training configuration as a command line: one YAML file makes model, data and trainer."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import torch
from jsonargparse import ArgumentError
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaclr.config import Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.training import (
    DEFAULT_MODEL,
    name_model_class,
    starting_checkpoints,
    with_checkpoints,
)
from dynaclr.data import MultiExperimentDataModule
from dynaclr.training.base import TrainedModule

# Trainer arguments that every machine can do.
ON_ANY_MACHINE = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
# What the parser says of keys that it does not know.
_UNKNOWN_IN_GROUP = re.compile(r"Group '(data|trainer)' does not accept option '([^']+)'")
_UNKNOWN_IN_CLASS = re.compile(r"class_path '([\w.]+)': Option '([^']+)' is not accepted")
_GROUPS = {"data": MultiExperimentDataModule, "trainer": Trainer}
_NOT_TOLD = (
    "Does not validate against any of the Union subtypes",
    "Subtypes: ",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Given value",
)


class TrainingCLI(LightningCLI):
    """Builds a model, its data and a trainer from a configuration; runs nothing.

    Parameters
    ----------
    content : dict
        Training configuration with the keys ``model``, ``data``, ``trainer``, ``seed_everything``.
    callbacks : sequence of Callback
        Added to those that the configuration names.
    loggers, plugins : sequence of Logger, sequence of plugins
        Likewise.
    **trainer_defaults
        Trainer arguments that hold unless the configuration says otherwise.
    """

    def __init__(
        self,
        content: dict[str, Any],
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        plugins: Sequence[Any] = (),
        **trainer_defaults: Any,
    ) -> None:
        self._callbacks = list(callbacks)
        self._loggers = list(loggers)
        self._plugins = list(plugins)
        super().__init__(
            args=name_model_class(content),
            run=False,
            parser_kwargs={"exit_on_error": False},
            save_config_callback=None,
            **common_options(**trainer_defaults),
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Add what all command lines of a training share."""
        add_common_arguments(parser)

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Take the configuration from the content alone, never from the command line."""
        self.config = parser.parse_object(args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with what belongs to this run beside what is configured."""
        configured = self.config_init.trainer
        loggers = [one for one in as_list(configured.logger) if isinstance(one, Logger)]
        return super().instantiate_trainer(
            callbacks=[*as_list(configured.callbacks), *self._callbacks],
            logger=[*self._loggers, *loggers],
            plugins=[*as_list(configured.plugins), *self._plugins],
            **kwargs,
        )

    def resolved(self) -> str:
        """Configuration as YAML, with every default filled in."""
        return self.parser.dump(self.config, skip_none=False)


def as_list(values: Any) -> list[Any]:
    """What a trainer takes as None, one, or several."""
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple) else [values]


def common_options(**trainer_defaults: Any) -> dict[str, Any]:
    """Options of every `LightningCLI` of this package."""
    return {
        "model_class": TrainedModule,
        "subclass_mode_model": True,
        "datamodule_class": MultiExperimentDataModule,
        # The modules make their own optimiser; others would be silently preferred.
        "auto_configure_optimizers": False,
        "seed_everything_default": 0,
        # The composed batches already know their replica; Lightning must not wrap them.
        "trainer_defaults": {"use_distributed_sampler": False, **trainer_defaults},
    }


def add_common_arguments(parser: Any) -> None:
    """Let the parts share what they must agree on: the seed, and the markers where one asks."""
    parser.link_arguments("seed_everything", "data.seed")
    parser.link_arguments("data.patches.markers", "model.init_args.markers")
    parser.set_defaults({"model": {"class_path": DEFAULT_MODEL}})


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
    check_sections(content, where)
    try:
        cli = TrainingCLI(content, **options)
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        raise wrong_key(error, where) from error
    except MisconfigurationException as error:
        raise lacking_hardware(error, where) from error
    check_encoder(cli.model, cli.datamodule, where)
    check_schedules(cli.model, cli.trainer, where)
    return cli


def wrong_key(error: Exception, where: str) -> UserError:
    """What to tell a user about a fault that the parser or a class has found.

    Of a value that may be null the parser says that it is not null either, and repeats all of it.
    """
    lines = [line.strip().removeprefix("- ") for line in str(error).splitlines()]
    told = " ".join(line for line in lines if not line.startswith(_NOT_TOLD)).rstrip(". ")
    return UserError(f"{where}: {told}. {_hint(told)}Correct this key; see config/README.md.")


def _hint(told: str) -> str:
    """Known keys, the nearest first, where the parser complains of one that is not accepted."""
    if found := _UNKNOWN_IN_GROUP.search(told):
        group, dotted = found.groups()
        kind, (*parents, key) = _GROUPS[group], dotted.split(".")
        for parent in parents:
            kind = get_type_hints(kind.__init__).get(parent) if isinstance(kind, type) else None
    elif found := _UNKNOWN_IN_CLASS.search(told):
        path, key = found.groups()
        module, _, name = path.rpartition(".")
        kind = getattr(import_module(module), name)
    else:
        return ""
    return f"{did_you_mean(key, signature(kind).parameters)}. " if isinstance(kind, type) else ""


def check_sections(content: Mapping[str, Any], where: str, *more: str) -> None:
    """Refuse sections that a training configuration does not have, empty ones too.

    Raises
    ------
    UserError
        When there is one.
    """
    problems, known = Problems(), [*_GROUPS, "model", "seed_everything", *more]
    for section in content:
        if section.partition(".")[0] not in known:
            problems.add(where, f"unknown section {section!r}", did_you_mean(section, known))
    problems.raise_if_any()


def lacking_hardware(error: MisconfigurationException, where: str) -> UserError:
    """What to tell a user whose trainer asks for what the machine lacks."""
    return UserError(
        f"{where}: trainer: {str(error).strip()} Correct `accelerator` and `devices` for this "
        "machine; `accelerator: auto` takes a GPU where there is one."
    )


def check_encoder(model: TrainedModule, data: MultiExperimentDataModule, where: str) -> None:
    """An encoder that tells the shape of its patches must be given such patches.

    Raises
    ------
    UserError
        When it is not.
    """
    patches = data.patches
    channels = (len(patches.markers), "data.patches.markers")
    if patches.bag_of_channels:
        channels = (1, "data.patches.bag_of_channels")
    given = {
        "in_channels": channels,
        "in_stack_depth": (patches.depth, "data.patches.depth"),
    }
    problems = Problems()
    for argument, (number, key) in given.items():
        expected = getattr(model.encoder, argument, number)
        if expected != number:
            problems.add(
                f"{where}: model.encoder",
                f"{argument} is {expected} but {key} gives {number}",
                "Make them equal",
            )
    last = max(getattr(model.encoder, "channels", [0]))
    if last >= channels[0]:
        problems.add(
            f"{where}: model.encoder",
            f"it sees channel {last}, counted from 0, but {channels[1]} gives {channels[0]}",
            "Give it channels that there are",
        )
    problems.raise_if_any()


def check_schedules(model: TrainedModule, trainer: Trainer, where: str) -> None:
    """A schedule needs an end: its own, or that of the training.

    Raises
    ------
    UserError
        When it has none.
    """
    problems = Problems()
    for name, schedule in model.schedules.items():
        if schedule.epochs is None and trainer.max_epochs == -1:
            problems.add(
                f"{where}: model.schedules.{name}",
                "trainer.max_epochs is no number of epochs",
                "Give the schedule its own `epochs`, or give `trainer.max_epochs`",
            )
    problems.raise_if_any()


def check_training(
    content: dict[str, Any], where: str, made_by: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Check a training configuration by building everything it names, without any data.

    Parameters
    ----------
    content : dict
        Training configuration.
    where : str
        What to call it in a message.
    made_by : mapping of str to dict
        Checkpoints that other trainings are yet to make, and the configurations of those: their
        untrained models stand in.

    Raises
    ------
    UserError
        As `build`; when an encoder cannot start from what another training makes.
    """
    content = _on_any_machine(content, where)
    with TemporaryDirectory() as folder:
        paths = starting_checkpoints(content)
        for key, path in paths.items():
            if made_by and path in made_by:
                paths[key] = f"{folder}/{path}"
                _save_untrained(made_by[path], Path(paths[key]), f"{where}: what makes {path}")
        try:
            built = build(with_checkpoints(content, paths), where)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from error
    _try_augmentations(built.datamodule, where)
    _try_losses(built.model, where)


def _on_any_machine(content: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration that builds without data and devices: the machine that checks has neither."""
    if not isinstance(content.get("data", {}), dict):
        raise UserError(f"{where}: data is no section of keys. See config/README.md.")
    content = with_data(content, "collection", "experiments", 0)
    if isinstance(content.get("trainer"), dict):
        content["trainer"] |= ON_ANY_MACHINE
    return content


def _save_untrained(content: dict[str, Any], file: Path, where: str) -> None:
    """Save the weights that a training begins with as if it had made them."""
    model = build(with_checkpoints(_on_any_machine(content, where), {}), where).model
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": model.state_dict()}, file)


def _try_augmentations(data: MultiExperimentDataModule, where: str) -> None:
    """Augment two blank patches: they must come out as validation sees them."""
    patches = data.patches
    channels = 1 if patches.bag_of_channels else len(patches.markers)
    blank = torch.zeros(2, channels, patches.depth, *data.extraction_size)
    place = f"{where}: data.augmentations"
    try:
        found = tuple(data.augment(blank, 0).shape[1:])
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{place}: {str(error).rstrip('. ')}. Correct them.") from error
    wanted = (channels, patches.depth, *patches.size)
    if found != wanted:
        raise UserError(
            f"{place}: of patches of extraction_size {list(data.extraction_size)} they make "
            f"(C, Z, Y, X) {list(found)}, but data.patches asks for {list(wanted)}. Let the last "
            "one crop to data.patches.size, or leave out data.extraction_size."
        )


def _try_losses(model: TrainedModule, where: str) -> None:
    """Call the losses on a few rows; no encoder runs."""
    try:
        with torch.no_grad():
            losses = model.try_losses()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: model.loss: cannot be called as {type(model).__name__} does: "
            f"{' '.join(str(error).split()).rstrip('. ')}. Choose a class of dynaclr.losses, or "
            "one with the same call."
        ) from error
    for key, value in losses.items():
        if not isinstance(value, torch.Tensor) or value.ndim:
            raise UserError(
                f"{where}: model.{key}: gives no scalar, so it is no loss. Choose a class of "
                "dynaclr.losses, or one with the same call."
            )


def with_data(
    content: dict[str, Any], collection: str, experiments: str, seed: int
) -> dict[str, Any]:
    """Training configuration with the data that it shall be used on, and the seed."""
    # The parser changes what it is given.
    content = copy.deepcopy(content)
    content.setdefault("data", {}).update(collection=collection, experiments=experiments)
    return content | {"seed_everything": seed}
