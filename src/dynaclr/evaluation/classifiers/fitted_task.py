"""The classifiers of one task: fitted once on the training experiments, saved, applied to any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr.config import TaskConfig
from dynaclr.config.metrics import CROSS_VALIDATED, LEFT_OUT
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import STRENGTHS, leave_one_out
from dynaclr.evaluation.classifiers.label_shuffling import Shuffles, fit_shuffled
from dynaclr.evaluation.classifiers.learning_curve import LearningDraw, fit_draws
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.tasks import TaskRows

Arrays = dict[str, np.ndarray]
_PARTS = ("coefficients", "intercept", "mean", "scale")


@dataclass
class FittedTask:
    """Classifiers of one task, by variant.

    Attributes
    ----------
    task : TaskConfig
    classes : tuple of str
        K class names; empty when nothing could be trained.
    priors : numpy.ndarray or None
        Frequency of each class in the training rows, shape (K,).
    problem : str
        Why nothing was trained, or empty.
    shuffle_note : str
        What the shuffled labels are, or why there are none.
    classifiers : dict of str to LinearClassifier
    shuffled : dict of str to list of LinearClassifier
        Fitted to shuffled labels, of each uncorrected variant.
    draws : dict of str to list of LearningDraw
        Fitted to some of the lineages, of each uncorrected variant.
    """

    task: TaskConfig
    classes: tuple[str, ...]
    priors: np.ndarray | None
    problem: str
    shuffle_note: str = ""
    classifiers: dict[str, LinearClassifier] = field(default_factory=dict)
    shuffled: dict[str, list[LinearClassifier]] = field(default_factory=dict)
    draws: dict[str, list[LearningDraw]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What can be written as JSON."""
        return {
            "task": self.task.model_dump(mode="json"),
            "classes": list(self.classes),
            "priors": None if self.priors is None else self.priors.tolist(),
            "problem": self.problem,
            "shuffle_note": self.shuffle_note,
            "n_lineages": {name: [d.n_lineages for d in of] for name, of in self.draws.items()},
        }

    def save(self, folder: Path) -> Arrays:
        """Write the classifiers, a folder a variant; arrays of the others are returned, by key."""
        for variant, classifier in self.classifiers.items():
            classifier.save(folder / variant)
        arrays: Arrays = {}
        for variant, shuffled in self.shuffled.items():
            arrays |= _stacked(f"{variant}/shuffled", shuffled)
        for variant, draws in self.draws.items():
            arrays |= _stacked(f"{variant}/draws", [draw.classifier for draw in draws])
        return arrays

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path, arrays: Arrays) -> FittedTask:
        """Read what `save` wrote, with its `facts`."""
        priors = facts["priors"]
        fitted = cls(
            task=TaskConfig.model_validate(facts["task"]),
            classes=tuple(facts["classes"]),
            priors=None if priors is None else np.array(priors),
            problem=facts["problem"],
            shuffle_note=facts["shuffle_note"],
        )
        if folder.is_dir():
            variants = sorted(path.name for path in folder.iterdir())
            fitted.classifiers = {name: LinearClassifier.load(folder / name) for name in variants}
        for variant, counts in facts["n_lineages"].items():
            like = fitted.classifiers[variant]
            fitted.shuffled[variant] = _unstacked(f"{variant}/shuffled", arrays, like)
            drawn = _unstacked(f"{variant}/draws", arrays, like)
            fitted.draws[variant] = list(map(LearningDraw, counts, drawn))
        return fitted


def _stacked(key: str, classifiers: list[LinearClassifier]) -> Arrays:
    """Arrays of classifiers of the same classes and features, one above the other."""
    if not classifiers:
        return {}
    return {f"{key}/{part}": np.stack([getattr(c, part) for c in classifiers]) for part in _PARTS}


def _unstacked(key: str, arrays: Arrays, like: LinearClassifier) -> list[LinearClassifier]:
    """The classifiers of `_stacked`; classes, names and strength are those of another one."""
    if f"{key}/{_PARTS[0]}" not in arrays:
        return []
    stacks = [arrays[f"{key}/{part}"] for part in _PARTS]
    return [
        replace(like, **dict(zip(_PARTS, parts, strict=True)), provenance={})
        for parts in zip(*stacks, strict=True)
    ]


@dataclass(frozen=True)
class Validation:
    """Probabilities of the training rows by classifiers that were fitted without them.

    Attributes
    ----------
    train : numpy.ndarray
        Labelled rows of the training experiments, positions within the task's rows, shape (m,).
    probabilities : dict of str to dict of str to numpy.ndarray
        Estimate (cross-validated, or experiments left out) to variant to probabilities, shape
        (m, K).
    problems : dict of str to str
        Estimate to why it has no probabilities.
    lacking : dict of str to numpy.ndarray
        Variant to which training rows lack features, bool, shape (m,).
    """

    train: np.ndarray
    probabilities: dict[str, dict[str, np.ndarray]]
    problems: dict[str, str]
    lacking: dict[str, np.ndarray] = field(default_factory=dict)


def begin_task(task: TaskConfig, task_rows: TaskRows, experiments: list[str]) -> FittedTask:
    """Classes and their frequencies in the training experiments; nothing is fitted yet."""
    labels = task_rows.labels[task_rows.labelled(experiments)]
    names, counts = np.unique(labels.astype(str), return_counts=True)
    if len(names) < 2:
        found = f"are {str(names[0])!r}" if len(names) else "are missing"
        problem = f"all labels of the training experiments {found}: nothing was trained"
        return FittedTask(task, (), None, problem)
    return FittedTask(task, tuple(map(str, names)), counts / counts.sum(), "")


def begin_validation(fitted: FittedTask, task_rows: TaskRows, experiments: list[str]) -> Validation:
    """The training rows of a task, without probabilities yet."""
    estimates = (CROSS_VALIDATED, LEFT_OUT)
    return Validation(
        train=task_rows.labelled(experiments),
        probabilities={estimate: {} for estimate in estimates},
        problems=dict.fromkeys(estimates, fitted.problem),
    )


def fit_variants(
    fitted: FittedTask,
    validation: Validation,
    task_rows: TaskRows,
    features: Mapping[str, np.ndarray],
    variants: Iterable[Variant],
    seed: int,
    shuffles: Shuffles,
) -> None:
    """Fit the classifiers of some variants, with everything that later needs the training rows.

    Parameters
    ----------
    fitted : FittedTask
        Gets the classifiers. With its `problem`, nothing is fitted.
    validation : Validation
        Gets the probabilities of the training rows.
    task_rows : TaskRows
    features : mapping
        Variant to features of all observations, shape (n, d).
    variants : iterable of Variant
        A corrected one after its base.
    seed : int
        Seed of the folds and draws.
    shuffles : Shuffles
        Of the training rows.
    """
    train, weight = validation.train, fitted.task.class_weight
    labels, groups = task_rows.labels[train], task_rows.groups[train]
    for variant in variants:
        inside = features[variant.name][task_rows.rows[train]]
        validation.lacking[variant.name] = np.isnan(inside).any(axis=1)
        if fitted.problem:
            continue
        # A corrected variant takes the penalty of its base: a fifth of the fits.
        base = fitted.classifiers.get(variant.base) if variant.correction else None
        strengths = STRENGTHS if base is None else (base.strength,)
        classifier, within = fit_linear_classifier(
            inside, labels, groups, strengths=strengths, class_weight=weight, seed=seed
        )
        fitted.classifiers[variant.name] = classifier
        between = leave_one_out(
            inside,
            labels,
            task_rows.experiments[train],
            strengths=strengths,
            class_weight=weight,
        )
        for estimate, validated in ((CROSS_VALIDATED, within), (LEFT_OUT, between)):
            # Labels and groups decide whether rows can be split, so all variants share the note.
            validation.problems[estimate] = validated.note
            if not validated.note:
                validation.probabilities[estimate][variant.name] = validated.probability
        if not variant.correction:
            given = (classifier.strength, weight)
            fitted.shuffled[variant.name] = fit_shuffled(inside, shuffles.labels, *given)
            fitted.draws[variant.name] = fit_draws(
                inside, labels, task_rows.lineages[train], *given, seed
            )
