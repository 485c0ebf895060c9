"""Construction of model, data and trainer from a training configuration."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from itertools import pairwise
from typing import Any, get_type_hints

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaclr.config import Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.grammar import parse_text, parser_mode
from dynaclr.config.training import DEFAULT_MODEL, name_model_class
from dynaclr.data import MultiExperimentDataModule
from dynaclr.training.base import TrainedModule

# Trainer arguments that every machine can do.
ON_ANY_MACHINE = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
SECTIONS = ("data", "trainer", "model", "seed_everything")
# Of these the trainer reads 1 as one batch and 1.0 as all of them.
_COUNTS_OR_FRACTIONS = (
    *("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval"),
    *("limit_predict_batches", "limit_test_batches"),
)
# How the parser names a key that it does not know, and lines of its messages that help no reader.
_UNKNOWN_IN_GROUP = re.compile(r"Group '(data|trainer)' does not accept option '([^']+)'")
_UNKNOWN_IN_CLASS = re.compile(r"class_path '([\w.]+)': Option '([^']+)' is not accepted")
_GROUPS = {"data": MultiExperimentDataModule, "trainer": Trainer}
_NOISE = (
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
    arguments : sequence of str, optional
        Command line options that change it. Without them the configuration alone counts.
    callbacks, loggers, plugins : sequence
        Added to those that the configuration names.
    trainer_defaults : mapping, optional
        Trainer arguments that hold unless the configuration says otherwise.
    **options
        Of `LightningCLI`.
    """

    # Top-level keys that the configuration may have beside `SECTIONS`.
    more_sections: tuple[str, ...] = ()

    def __init__(
        self,
        content: dict[str, Any],
        arguments: Sequence[str] | None = None,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        plugins: Sequence[Any] = (),
        trainer_defaults: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._content = name_model_class(content)
        self._arguments = arguments
        self._callbacks = list(callbacks)
        self._loggers = list(loggers)
        self._plugins = list(plugins)
        parser_kwargs = {"exit_on_error": False, "parser_mode": parser_mode()} | options.pop(
            "parser_kwargs", {}
        )
        super().__init__(
            model_class=TrainedModule,
            subclass_mode_model=True,
            datamodule_class=MultiExperimentDataModule,
            run=False,
            # The modules make their own optimiser; others would be silently preferred.
            auto_configure_optimizers=False,
            seed_everything_default=0,
            # The composed batches already know their replica; Lightning must not wrap them.
            trainer_defaults={"use_distributed_sampler": False, **(trainer_defaults or {})},
            parser_kwargs=parser_kwargs,
            **({"save_config_callback": None} | options),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let the parts share what they must agree on: the seed, and the markers."""
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments("data.patches.markers", "model.init_args.markers")
        parser.set_defaults({"model": {"class_path": DEFAULT_MODEL}})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Take what was given to this object; the arguments of the process may be a launcher's."""
        if self._arguments is None:
            self.config = parser.parse_object(copy.deepcopy(self._content))
        else:
            given = ["--config", json.dumps(self._content)] if self._content else []
            # Options of the command line come last, so they win.
            self.config = parser.parse_args([*given, *self._arguments])
        self._integers = given_integers(self._content, self._arguments or ())
        self.config.trainer.update(Namespace(self._integers))

    def run_callbacks(self) -> list[Callback]:
        """Callbacks of this run beside those that are configured."""
        return self._callbacks

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with what belongs to this run beside what is configured."""
        configured = self.config_init.trainer
        if self._loggers:
            loggers = [one for one in as_list(configured.logger) if isinstance(one, Logger)]
            kwargs["logger"] = [*self._loggers, *loggers]
        return super().instantiate_trainer(
            callbacks=[*as_list(configured.callbacks), *self.run_callbacks()],
            plugins=[*as_list(configured.plugins), *self._plugins],
            **self._integers,
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


def given_integers(content: Mapping[str, Any], arguments: Sequence[str] = ()) -> dict[str, int]:
    """Numbers of batches that were given as integers, which the parser may read as fractions.

    Python caches ``Union`` types whatever their order. Where another package has asked for a union
    of float and int before Lightning asks for one of int and float, the parser gets the former and
    reads 1 as 1.0.

    Parameters
    ----------
    content : mapping
        Training configuration as it was read.
    arguments : sequence of str
        Options ``--trainer.<key>``, which win over it.

    Returns
    -------
    dict of str to int
        By the argument of the trainer.
    """
    given = dict(content.get("trainer") or {})
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for option, value in pairwise(words):
        key = option.removeprefix("--trainer.")
        if key in _COUNTS_OR_FRACTIONS:
            given[key] = parse_text(value)
    return {key: given[key] for key in _COUNTS_OR_FRACTIONS if type(given.get(key)) is int}


def build(
    content: dict[str, Any], where: str, kind: type[TrainingCLI] = TrainingCLI, **options: Any
) -> TrainingCLI:
    """Build model, data and trainer, and compare them before any data is read.

    Parameters
    ----------
    content : dict
        Training configuration.
    where : str
        What to call it in a message.
    kind : type of TrainingCLI
        The class that builds.
    **options
        Of this class.

    Raises
    ------
    UserError
        When a key is unknown, missing, of the wrong type or out of range, when the machine lacks
        what the trainer asks for, or when the encoder does not take such patches.
    """
    check_sections(content, where, *kind.more_sections)
    try:
        cli = kind(content, **options)
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        raise configuration_error(error, where) from error
    except MisconfigurationException as error:
        raise hardware_error(error, where) from error
    check_encoder(cli.model, cli.datamodule, where)
    check_schedules(cli.model, cli.trainer, where)
    return cli


def check_sections(content: Mapping[str, Any], where: str, *more: str) -> None:
    """Refuse sections that a training configuration does not have, empty ones too.

    Raises
    ------
    UserError
        When there is one.
    """
    problems, known = Problems(), [*SECTIONS, *more]
    for section in content:
        if section.partition(".")[0] not in known:
            problems.add(where, f"unknown section {section!r}", did_you_mean(section, known))
        elif section in ("data", "trainer", "model") and not isinstance(content[section], Mapping):
            problems.add(where, f"{section} is no section of keys", "See config/README.md")
    problems.raise_if_any()


def configuration_error(error: Exception, where: str) -> UserError:
    """Message for an error that the parser or a class has found.

    Of a value that may be null the parser says that it is not null either, and repeats all of it.
    """
    lines = [line.strip().removeprefix("- ") for line in str(error).splitlines()]
    text = " ".join(line for line in lines if not line.startswith(_NOISE)).rstrip(". ")
    return UserError(f"{where}: {text}. {_known_keys(text)}Correct this key; see config/README.md.")


def _known_keys(message: str) -> str:
    """Known keys, the nearest first, where the parser complains of one that is not accepted."""
    kind: Any
    if found := _UNKNOWN_IN_GROUP.search(message):
        group, dotted = found.groups()
        kind, (*parents, key) = _GROUPS[group], dotted.split(".")
        for parent in parents:
            hints = get_type_hints(kind.__init__) if isinstance(kind, type) else {}  # type: ignore[misc]
            kind = hints.get(parent)
    elif found := _UNKNOWN_IN_CLASS.search(message):
        path, key = found.groups()
        module, _, name = path.rpartition(".")
        kind = getattr(import_module(module), name)
    else:
        return ""
    return f"{did_you_mean(key, signature(kind).parameters)}. " if isinstance(kind, type) else ""


def hardware_error(error: MisconfigurationException, where: str) -> UserError:
    """Message for a trainer that cannot be, or asks for devices which the machine lacks."""
    fix = "Correct this key; see config/README.md."
    if re.search("accelerator|device|gpu", str(error), re.IGNORECASE):
        fix = (
            "Correct `accelerator` and `devices` for this machine; `accelerator: auto` takes a GPU "
            "where there is one."
        )
    return UserError(f"{where}: trainer: {str(error).strip()} {fix}")


def check_encoder(model: TrainedModule, data: MultiExperimentDataModule, where: str) -> None:
    """Compare the patches of the data with the shape that an encoder says it expects.

    Raises
    ------
    UserError
        When they differ.
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
    """Refuse a schedule without an end: its own, or that of the training.

    Raises
    ------
    UserError
        When there is one.
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


def with_data(
    content: dict[str, Any], collection: str, experiments: str, seed: int
) -> dict[str, Any]:
    """Training configuration with the data that it shall be used on, and the seed.

    It is a copy, since the parser changes what it is given.
    """
    content = copy.deepcopy(content)
    content.setdefault("data", {}).update(collection=collection, experiments=experiments)
    return content | {"seed_everything": seed}
