"""First stage of an evaluation: all that is fitted, on the training experiments of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.metrics import ALL_TRAINING, CROSS_VALIDATED
from dynaclr.config.variants import Variant
from dynaclr.evaluation.batch_correction import common_moments
from dynaclr.evaluation.classifiers.fitted_task import (
    FittedTask,
    Validation,
    begin_task,
    begin_validation,
    fit_variants,
)
from dynaclr.evaluation.classifiers.label_shuffling import (
    Shuffles,
    cross_validated_null,
    null_rows,
    shuffle_labels,
)
from dynaclr.evaluation.classifiers.score_tables import ScoredSet, auroc_of, tabulate_scores
from dynaclr.evaluation.classifiers.scoring import validated_sets
from dynaclr.evaluation.corrected_stores import write_corrected
from dynaclr.evaluation.drift import drift_rows, drift_values
from dynaclr.evaluation.inputs import (
    EvaluationInputs,
    Notes,
    label_observations,
    make_inputs,
    per_marker,
)
from dynaclr.evaluation.label_tables import LabelPaths, check_columns
from dynaclr.evaluation.maps import fit_map, mapped_variants
from dynaclr.evaluation.reference import Reference, VariantReference
from dynaclr.evaluation.response_scores import resolution_rows
from dynaclr.evaluation.samples import SAMPLE_ROWS, sample_rows, write_sample
from dynaclr.evaluation.stage_tables import StageTables
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.evaluation.temporal_scores import fit_progression_of
from dynaclr.evaluation.track_onsets import fit_response
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embedding_rows import EmbeddingRows, open_variants
from dynaclr.io.subsample import whole_lineages

logger = logging.getLogger(__name__)

StorePaths = Mapping[str, Mapping[str, "str | Path"]]
# Values (observations x features of the widest variant) that classifiers are fitted on: their time
# grows with it. At most, and at least, this many observations.
FIT_VALUES = 6_000_000
FIT_ROWS = (2000, 20_000)
# Observations that a map is fitted on; others are placed in it.
MAP_ROWS = 10_000


@dataclass
class _Sampled:
    """Sample of one experiment: observations with labels, and the stores of their features."""

    obs: pd.DataFrame
    stores: dict[str, EmbeddingRows]
    notes: Notes
    n_observations: int

    def all_features(self) -> dict[str, np.ndarray]:
        """Features of all variants, each of shape (m, d)."""
        rows = np.arange(len(self.obs))
        return {variant: store.features(rows) for variant, store in self.stores.items()}


@dataclass
class _Task:
    """What is fitted to one task, with what is needed to fit it."""

    fitted: FittedTask
    validation: Validation
    rows: TaskRows
    shuffles: Shuffles


def fit_reference(
    model: str,
    stores: StorePaths,
    labels: LabelPaths,
    config: EvaluationConfig,
    train: list[str],
    folder: str | Path,
    *,
    statistics: Mapping[str, str | Path] | None = None,
    scores_training: bool = False,
    seed: int = 0,
) -> None:
    """Fit classifiers, corrections and maps on training experiments, and score what was left out.

    An experiment is read by itself, and at most `SAMPLE_ROWS` of its observations are kept, whole
    lineages; so memory does not grow with the number of observations.

    Parameters
    ----------
    model : str
        Name, a column of the tables.
    stores : mapping
        Variant (``seed0``, ``seed0-untrained``, ``intensity``) to experiment to embedding store, of
        the training experiments and of those that are neither trained on nor held out.
    labels : mapping
        Experiment to the paths of its label tables, ``annotations`` and ``truth``.
    config : EvaluationConfig
    train : list of str
        Training experiments.
    folder : str or Path
        Gets the reference, the tables of the training experiments, and ``samples/``, an AnnData
        file an experiment; written whole or not at all, with its digest beside it.
    statistics : mapping, optional
        Experiment to its ``statistics.parquet``: what pixels drift is judged by.
    scores_training : bool
        Whether resolution and shuffled labels are scored within the training experiments, since
        nothing is held out.
    seed : int
        Seed of folds, resamples, subsamples and UMAP.

    Raises
    ------
    UserError
        When stores, tables or tasks do not fit each other.
    """
    experiments = sorted(next(iter(stores.values()), {}))
    _check_experiments(experiments, train)
    samples, tables = dict[str, _Sampled](), StageTables()
    for name in experiments:
        opened = open_variants(_paths_of(stores, name), name)
        obs = next(iter(opened.values())).obs
        if not samples:
            of_training = {name: labels.get(name, {}) for name in train}
            config = _checked_tasks(config, obs, of_training)
        tables.add_cells(obs, name, held_out=False)
        samples[name] = _take_sample(opened, obs, labels, config)
    reference = _begin(model, config, samples, train, seed)
    inputs, rows = _training_inputs(reference, samples)
    tasks = [_begin_task(inputs, number) for number in range(len(inputs.tasks))]
    map_rows = _map_rows(inputs)
    for variant in reference.feature_names:
        parts = [samples[name].stores[variant].features(rows[name]) for name in train]
        corrected = _fit_variant(reference, inputs, tasks, variant, np.concatenate(parts), map_rows)
        if scores_training:
            _score_variant(corrected, tasks, tables)
    reference.tasks = [task.fitted for task in tasks]
    for task in tasks:
        _tabulate(inputs, task, reference.ordered, tables)
    with atomic_path(folder) as temporary:
        (temporary / "samples").mkdir(parents=True)
        _finish_samples(
            *(reference, inputs, map_rows, samples, statistics or {}),
            *(tables, temporary / "samples"),
        )
        reference.save(temporary)
        tables.write(temporary, model, inputs)
        if config.write_corrected:
            for name in samples:
                given = (temporary / "corrected", name, _paths_of(stores, name), config.control)
                write_corrected(*given, reference.targets)
    write_digest(folder)


def _check_experiments(experiments: list[str], train: list[str]) -> None:
    if not train:
        raise UserError("evaluation: no experiment to train classifiers on. Name at least one.")
    for name in train:
        if name not in experiments:
            raise UserError(
                f"evaluation: no embedding store of experiment {name!r} was given. "
                f"{did_you_mean(name, experiments)}."
            )


def _paths_of(stores: StorePaths, experiment: str) -> dict[str, str | Path]:
    """Variant to the store of an experiment."""
    return {variant: paths[experiment] for variant, paths in stores.items()}


def _checked_tasks(
    config: EvaluationConfig, obs: pd.DataFrame, labels: LabelPaths
) -> EvaluationConfig:
    """The configuration with a further task a marker, where observations have several.

    What the tasks name must be in the observations or in the label tables.
    """
    for task in config.tasks:
        check_columns(task, obs.columns, labels)
    tasks = [task for given in config.tasks for task in per_marker(obs, given)]
    return config.model_copy(update={"tasks": tasks})


def _take_sample(
    opened: dict[str, EmbeddingRows],
    obs: pd.DataFrame,
    labels: LabelPaths,
    config: EvaluationConfig,
) -> _Sampled:
    labelled, notes = label_observations(obs, labels, config)
    rows = sample_rows(labelled, config.tasks, SAMPLE_ROWS)
    stores = {variant: store.take(rows) for variant, store in opened.items()}
    return _Sampled(labelled.iloc[rows].reset_index(drop=True), stores, notes, len(obs))


def _begin(
    model: str,
    config: EvaluationConfig,
    samples: dict[str, _Sampled],
    train: list[str],
    seed: int,
) -> Reference:
    """A reference without fits; the experiments must have been embedded alike."""
    first = next(iter(samples.values())).stores
    names = {variant: store.feature_names for variant, store in first.items()}
    encoders = {variant: store.encoder for variant, store in first.items()}
    for sample in samples.values():
        for variant, store in sample.stores.items():
            store.check_made_as(names[variant], encoders[variant])
    return Reference(model, config, train, seed, names, encoders)


def _training_inputs(
    reference: Reference, samples: dict[str, _Sampled]
) -> tuple[EvaluationInputs, dict[str, np.ndarray]]:
    """Observations that everything is fitted to, and which of each sample they are."""
    widest = max(map(len, reference.feature_names.values()))
    n_rows = int(np.clip(FIT_VALUES // widest, *FIT_ROWS))
    rows, parts, notes = {}, [], dict[str, dict[str, str]]()
    for name in reference.train:
        obs = samples[name].obs
        n_each = n_rows // len(reference.train)
        rows[name] = sample_rows(obs, reference.config.tasks, n_each)
        parts.append(obs.iloc[rows[name]])
        for task, note in samples[name].notes.items():
            notes.setdefault(task, {}).update(note)
    obs = pd.concat(parts, ignore_index=True)
    config, train = reference.config, reference.train
    return make_inputs(obs, notes, config, train, [], reference.seed), rows


def _begin_task(inputs: EvaluationInputs, number: int) -> _Task:
    task, rows = inputs.tasks[number]
    fitted = begin_task(task, rows, inputs.train)
    validation = begin_validation(fitted, rows, inputs.train)
    n_shuffles = 0 if fitted.problem else inputs.config.shuffles
    shuffles = shuffle_labels(rows, validation.train, inputs.hours, n_shuffles, inputs.seed)
    fitted.shuffle_note = shuffles.note
    return _Task(fitted, validation, rows, shuffles)


def _fit_variant(
    reference: Reference,
    inputs: EvaluationInputs,
    tasks: list[_Task],
    name: str,
    features: np.ndarray,
    map_rows: np.ndarray,
) -> EvaluationInputs:
    """Fit everything to one variant and its corrections, and return the inputs with these.

    `features` have shape (n, d), and `map_rows` are those of them that maps are fitted on.
    """
    logger.info("fitting %s", name)
    target = None
    if inputs.control is not None:
        target = common_moments(features, inputs.experiments, inputs.control)
    corrected = inputs.with_variant(name, features, target)
    for variant in corrected.variants:
        fits = (fit_progression_of(corrected, variant), fit_response(corrected, variant))
        own = None if variant.correction else target
        reference.variants[variant.name] = VariantReference(own, *fits)
    for task in (t for t in tasks if corrected.variants[0].is_for(t.fitted.task.name)):
        given = (task.fitted, task.validation, task.rows, corrected.features, corrected.variants)
        fit_variants(*given, inputs.seed, task.shuffles)
    mapped = mapped_variants(list(reference.feature_names))
    if name in [variant.name for variant in mapped]:
        of_map = (features[map_rows], inputs.lineages[map_rows], inputs.seed)
        reference.maps[name] = fit_map(*of_map, with_phate=name == mapped[0].name)
    return corrected


def _map_rows(inputs: EvaluationInputs) -> np.ndarray:
    """Rows that maps are fitted on: whole lineages, equally many of each experiment."""
    groups = inputs.obs.groupby("experiment", sort=True).indices
    n_each = max(1, MAP_ROWS // len(groups))
    return np.concatenate(
        [rows[whole_lineages(inputs.obs.iloc[rows], n_each)] for rows in groups.values()]
    )


def _finish_samples(
    reference: Reference,
    inputs: EvaluationInputs,
    map_rows: np.ndarray,
    samples: dict[str, _Sampled],
    statistics: Mapping[str, str | Path],
    tables: StageTables,
    folder: Path,
) -> None:
    """Write the samples with their places on the maps, and judge drift by them.

    The reference gets the checks of the training experiments, the tables the verdict on others that
    are not held out.
    """
    experiments = inputs.experiments[map_rows]
    reference.anchor_control = None if inputs.control is None else inputs.control[map_rows]
    values = {}
    for name, sample in samples.items():
        features = sample.all_features()
        given = (reference, sample.obs, features, statistics.get(name))
        values[name] = drift_values(*given, anchors=experiments != name)
        write_sample(
            *(folder / f"{name}.h5ad", sample.obs, features, reference.feature_names),
            *(reference.maps, sample.n_observations, reference.seed),
        )
    reference.drift = {name: values[name] for name in reference.train}
    for name in sorted(samples.keys() - {*reference.train}):
        tables.drift += drift_rows(name, values[name], reference.drift)


def _score_variant(corrected: EvaluationInputs, tasks: list[_Task], tables: StageTables) -> None:
    """Resolution within the training experiments, which needs features, and a null of shuffles."""
    for task in (t for t in tasks if corrected.variants[0].is_for(t.fitted.task.name)):
        whole = _whole_set(task, corrected.train)
        for variant in corrected.variants:
            tables.add(resolution_rows(corrected, variant, task.rows, task.fitted, whole))
        if not task.fitted.problem and corrected.config.shuffles:
            _add_null(tables, corrected, task, whole, corrected.variants[0])


def _whole_set(task: _Task, train: list[str]) -> ScoredSet:
    """All training rows of a task, cross-validated."""
    sets = validated_sets(task.fitted, task.validation, task.rows, train)
    main = (CROSS_VALIDATED, ALL_TRAINING)
    return next(s for s in sets if (s.estimate, s.experiment) == main)


def _add_null(
    tables: StageTables, inputs: EvaluationInputs, task: _Task, whole: ScoredSet, variant: Variant
) -> None:
    features = inputs.features[variant.name][task.rows.rows[whole.rows]]
    strength = task.fitted.classifiers[variant.name].strength
    aurocs = cross_validated_null(
        *(whole, features, task.shuffles, strength, inputs.seed, task.fitted.task.class_weight)
    )
    rows = null_rows(whole, variant, auroc_of(whole, variant.name), aurocs, task.shuffles.note)
    tables.metrics += [{**row, "task": task.fitted.task.name} for row in rows]


def _tabulate(
    inputs: EvaluationInputs, task: _Task, variants: list[Variant], tables: StageTables
) -> None:
    """Scores of the training rows, by classifiers that were fitted without them."""
    sets = validated_sets(task.fitted, task.validation, task.rows, inputs.train)
    n_bootstrap, classes = inputs.config.bootstrap, task.fitted.classes
    of_task = [variant for variant in variants if variant.is_for(task.fitted.task.name)]
    scores = tabulate_scores(sets, of_task, classes, n_bootstrap, inputs.seed)
    tables.add_scores(task.fitted.task.name, task.fitted.task.label, scores)
