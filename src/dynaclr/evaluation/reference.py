"""What is fitted once on the training experiments of a model, and used to score any experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.config.variants import Variant, ordered_variants
from dynaclr.evaluation.batch_correction import Moments
from dynaclr.evaluation.classifiers.fitted_task import FittedTask
from dynaclr.evaluation.drift import Values
from dynaclr.evaluation.maps import FittedMap
from dynaclr.evaluation.metrics.temporal import LinearPredictor
from dynaclr.evaluation.track_onsets import ResponseReference
from dynaclr.io.artifacts import read_json, reading, write_json

FORMAT = 2
Arrays = dict[str, np.ndarray]


class VariantReference(NamedTuple):
    """What is fitted to one variant, besides classifiers; None where it cannot be.

    Attributes
    ----------
    target : Moments or None
        What transport moves an experiment to; of uncorrected variants alone.
    progression : LinearPredictor or None
    response : ResponseReference or None
    """

    target: Moments | None = None
    progression: LinearPredictor | None = None
    response: ResponseReference | None = None

    def arrays(self) -> Arrays:
        """All arrays by name, for a file."""
        arrays: Arrays = {}
        if self.target is not None:
            arrays |= {f"target/{name}": part for name, part in self.target._asdict().items()}
        if self.progression is not None:
            parts = self.progression._asdict().items()
            arrays |= {f"progression/{name}": np.asarray(part) for name, part in parts}
        if self.response is not None:
            parts = self.response.arrays().items()
            arrays |= {f"response/{name}": part for name, part in parts}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> VariantReference:
        """What `arrays` wrote."""
        target, progression = within(arrays, "target"), within(arrays, "progression")
        predictor = None
        if progression:
            predictor = LinearPredictor(progression["weights"], float(progression["intercept"]))
        response = within(arrays, "response")
        return cls(
            Moments(**target) if target else None,
            predictor,
            ResponseReference.of_arrays(response) if response else None,
        )


@dataclass
class Reference:
    """Classifiers, corrections, predictors and maps of a model.

    Attributes
    ----------
    model : str
    config : EvaluationConfig
        Its tasks are those that were fitted, one more a marker where there are several.
    train : list of str
        Training experiments.
    seed : int
    feature_names : dict of str to list of str
        Of each uncorrected variant.
    encoders : dict of str to dict
        Of each uncorrected variant: ``variant`` and ``checkpoint``.
    tasks : list of FittedTask
    variants : dict of str to VariantReference
        Corrected variants included.
    maps : dict of str to FittedMap
    drift : dict of str to dict of str to float
        Training experiment to its checks, with which those of others are compared.
    anchor_control : numpy.ndarray or None
        Which of the cells that maps were fitted on are controls, bool, shape (m,).
    """

    model: str
    config: EvaluationConfig
    train: list[str]
    seed: int
    feature_names: dict[str, list[str]]
    encoders: dict[str, dict[str, Any]]
    tasks: list[FittedTask] = field(default_factory=list)
    variants: dict[str, VariantReference] = field(default_factory=dict)
    maps: dict[str, FittedMap] = field(default_factory=dict)
    drift: dict[str, Values] = field(default_factory=dict)
    anchor_control: np.ndarray | None = None

    @property
    def ordered(self) -> list[Variant]:
        """All variants in the order of tables."""
        return ordered_variants(self.variants)

    @property
    def targets(self) -> dict[str, Moments | None]:
        """What transport moves each uncorrected variant to."""
        return {name: self.variants[name].target for name in self.feature_names}

    def save(self, folder: Path) -> None:
        """Write ``reference.json``, ``arrays.npz`` and ``classifiers/`` into an existing folder."""
        arrays: Arrays = {}
        for number, fitted in enumerate(self.tasks):
            own = fitted.save(folder / "classifiers" / fitted.task.name)
            arrays |= _prefixed(f"tasks/{number}", own)
        for name, reference in self.variants.items():
            arrays |= _prefixed(f"variants/{name}", reference.arrays())
        for name, fitted_map in self.maps.items():
            arrays |= _prefixed(f"maps/{name}", fitted_map.arrays())
        if self.anchor_control is not None:
            arrays["anchor_control"] = self.anchor_control
        np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
        facts = {
            "format": FORMAT,
            "dynaclr": version("dynaclr"),
            "model": self.model,
            "evaluation": self.config.model_dump(mode="json"),
            "train": self.train,
            "seed": self.seed,
            "feature_names": self.feature_names,
            "encoders": self.encoders,
            "tasks": [fitted.facts() for fitted in self.tasks],
            "variants": list(self.variants),
            "maps": list(self.maps),
            "drift": self.drift,
        }
        write_json(folder / "reference.json", facts)

    @classmethod
    def load(cls, folder: str | Path) -> Reference:
        """Read a reference that `save` wrote.

        Raises
        ------
        UserError
            When a file is missing or damaged, or of a format that this version does not know.
        """
        folder = Path(folder)
        facts = read_json(folder / "reference.json")
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise UserError(
                f"{folder / 'reference.json'}: not the reference of an evaluation of format "
                f"{FORMAT}. Fit it again with `dynaclr evaluation fit`."
            )
        with reading(folder):
            with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
                arrays = dict(stored)
            tasks = [
                FittedTask.load(
                    of_task,
                    folder / "classifiers" / of_task["task"]["name"],
                    within(arrays, f"tasks/{number}"),
                )
                for number, of_task in enumerate(facts["tasks"])
            ]
            return cls(
                **{name: facts[name] for name in _PLAIN},
                config=EvaluationConfig.model_validate(facts["evaluation"]),
                tasks=tasks,
                anchor_control=arrays.get("anchor_control"),
                variants={
                    name: VariantReference.of_arrays(within(arrays, f"variants/{name}"))
                    for name in facts["variants"]
                },
                maps={
                    name: FittedMap.of_arrays(within(arrays, f"maps/{name}"))
                    for name in facts["maps"]
                },
            )


_PLAIN = ("model", "train", "seed", "feature_names", "encoders", "drift")


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {f"{prefix}/{name}": values for name, values in arrays.items()}


def within(arrays: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """Arrays whose names begin with a prefix and a slash, by the rest of their names."""
    start = f"{prefix}/"
    return {name[len(start) :]: v for name, v in arrays.items() if name.startswith(start)}
