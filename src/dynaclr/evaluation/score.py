"""Second stage of an evaluation: one experiment is scored by what was fitted elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.config.variants import Variant, parse_variant
from dynaclr.evaluation.classifiers.fitted_task import FittedTask
from dynaclr.evaluation.classifiers.label_shuffling import null_aurocs, null_rows
from dynaclr.evaluation.classifiers.learning_curve import learning_rows
from dynaclr.evaluation.classifiers.score_tables import ScoredSet, auroc_of, tabulate_scores
from dynaclr.evaluation.classifiers.scoring import apply_task, held_out_set, prediction_table
from dynaclr.evaluation.control_distance_scores import control_distance_rows
from dynaclr.evaluation.corrected_stores import write_corrected
from dynaclr.evaluation.drift import drift_rows, drift_values
from dynaclr.evaluation.health_scores import health_rows
from dynaclr.evaluation.inputs import EvaluationInputs, label_observations, make_inputs
from dynaclr.evaluation.label_tables import LabelPaths
from dynaclr.evaluation.marker_timing import timing_rows
from dynaclr.evaluation.mixing_scores import separation_rows
from dynaclr.evaluation.onset_scores import onset_rows, onset_table
from dynaclr.evaluation.reference import Reference
from dynaclr.evaluation.response_scores import resolution_rows, sister_rows
from dynaclr.evaluation.samples import SAMPLE_ROWS, sample_rows, write_sample
from dynaclr.evaluation.stage_tables import StageTables
from dynaclr.evaluation.tables import Rows
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.evaluation.temporal_scores import temporal_rows
from dynaclr.evaluation.track_onsets import ResponseReference, track_onsets
from dynaclr.evaluation.trajectories import pseudotime_rows, trajectory_table
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embedding_rows import EmbeddingRows, open_variants
from dynaclr.io.embeddings import key_of
from dynaclr.io.subsample import whole_lineages

logger = logging.getLogger(__name__)

# Observations that an experiment is scored on; of a larger one whole lineages are drawn.
MAX_ROWS = 100_000


@dataclass
class _Task:
    """One task as it is scored."""

    fitted: FittedTask
    rows: TaskRows
    scored: ScoredSet | None


def score_experiment(
    reference_folder: str | Path,
    experiment: str,
    stores: Mapping[str, str | Path],
    labels: LabelPaths,
    config: EvaluationConfig,
    folder: str | Path,
    *,
    statistics: str | Path | None = None,
    trained_on: bool = False,
) -> None:
    """Score one experiment with what was fitted on others.

    Parameters
    ----------
    reference_folder : str or Path
        Of `fit_reference`.
    experiment : str
    stores : mapping
        Variant to embedding store.
    labels : mapping
        The experiment to the paths of its label tables, ``annotations`` and ``truth``.
    config : EvaluationConfig
        Its tasks do not count; they are those of the reference.
    folder : str or Path
        Gets the tables and ``sample.h5ad``; written whole or not at all, with its digest beside it.
    statistics : str or Path, optional
        The experiment's ``statistics.parquet``: what pixels drift is judged by.
    trained_on : bool
        Whether the experiment is one of training, and has no held-out scores.

    Raises
    ------
    UserError
        When stores, tables or the reference do not fit each other.
    """
    reference = Reference.load(reference_folder)
    config = config.model_copy(update={"tasks": [fitted.task for fitted in reference.tasks]})
    opened = open_variants(stores, experiment)
    _check_stores(reference, opened)
    tables, all_obs = StageTables(), next(iter(opened.values())).obs
    tables.add_cells(all_obs, experiment, held_out=not trained_on)
    obs, notes = label_observations(all_obs, labels, config)
    if len(obs) > MAX_ROWS:
        rows = whole_lineages(obs, MAX_ROWS)
        logger.warning("scored on %d of %d observations, whole lineages", len(rows), len(obs))
        obs = obs.iloc[rows].reset_index(drop=True)
        opened = {variant: store.take(rows) for variant, store in opened.items()}
    roles = ([experiment], []) if trained_on else ([], [experiment])
    inputs = make_inputs(obs, notes, config, *roles, reference.seed)
    tasks = [
        _Task(fitted, rows, None if trained_on else held_out_set(fitted, rows, experiment))
        for fitted, (_, rows) in zip(reference.tasks, inputs.tasks, strict=True)
    ]
    for name in opened:
        _score_variant(reference, inputs, tasks, name, opened[name], tables)
    _add_timing(inputs, experiment, opened, tables)
    for task in tasks:
        _tabulate(reference, inputs, task, tables)
    sample = _sample_of(inputs, tables)
    features = {variant: store.features(sample.rows) for variant, store in opened.items()}
    if not trained_on:
        anchors = np.ones(len(next(iter(reference.maps.values())).anchors), dtype=bool)
        values = drift_values(reference, sample.obs, features, statistics, anchors)
        tables.drift += drift_rows(experiment, values, reference.drift)
    maps = {variant: fitted for variant, fitted in reference.maps.items() if variant in features}
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        tables.write(temporary, reference.model, inputs)
        given = (sample.obs, features, reference.feature_names, maps, len(all_obs), reference.seed)
        write_sample(temporary / "sample.h5ad", *given)
        if config.write_corrected:
            corrected = (temporary / "corrected", experiment, stores, config.control)
            write_corrected(*corrected, reference.targets)
    write_digest(folder)


def _check_stores(reference: Reference, opened: Mapping[str, EmbeddingRows]) -> None:
    for variant, store in opened.items():
        if variant not in reference.feature_names:
            raise UserError(
                f"{store.path}: variant {variant} is not one of those that were fitted "
                f"({', '.join(reference.feature_names)}). Fit the evaluation again."
            )
        store.check_made_as(reference.feature_names[variant], reference.encoders[variant])


def _score_variant(
    reference: Reference,
    inputs: EvaluationInputs,
    tasks: list[_Task],
    name: str,
    store: EmbeddingRows,
    tables: StageTables,
) -> None:
    """Add all scores of one variant and its corrections but those of classifiers."""
    logger.info("scoring %s", name)
    target, (experiment,) = reference.variants[name].target, inputs.scored
    corrected = inputs.with_variant(name, store.features(np.arange(len(inputs.obs))), target)
    for variant in corrected.variants:
        fits = reference.variants[variant.name]
        _add_onsets(corrected, variant, experiment, fits.response, tables)
        tables.add(
            temporal_rows(corrected, variant, fits.progression),
            control_distance_rows(corrected, variant),
            Rows(health_rows(corrected, variant), []),
        )
        for task in (t for t in tasks if variant.is_for(t.fitted.task.name)):
            _score_task(corrected, variant, task, tables)


def _add_onsets(
    inputs: EvaluationInputs,
    variant: Variant,
    experiment: str,
    reference: ResponseReference | None,
    tables: StageTables,
) -> None:
    """Add onsets and trajectories of one variant, where there are controls to find them by."""
    tracks = None
    if reference is not None:
        tracks = track_onsets(inputs, variant, reference.axis, experiment)
    if reference is None or tracks is None:
        return
    onsets = onset_table(inputs, variant, tracks, reference.delay)
    tables.onsets.append(onsets)
    tables.metrics += onset_rows(inputs, variant, experiment, onsets)
    trajectories = trajectory_table(inputs, variant, tracks, reference)
    tables.metrics += pseudotime_rows(inputs, variant, experiment, trajectories)
    if not variant.correction:
        tables.trajectories.append(trajectories)


def _add_timing(
    inputs: EvaluationInputs,
    experiment: str,
    opened: Mapping[str, EmbeddingRows],
    tables: StageTables,
) -> None:
    """Add the timing of markers, in tracks aligned by the first variant."""
    if "intensity" not in opened or not tables.trajectories:
        return
    store, trajectories = opened["intensity"], tables.trajectories[0]
    features = store.features(np.arange(len(inputs.obs)))
    intensities = pd.DataFrame(features, columns=store.feature_names)
    variant = parse_variant(trajectories["variant"].iloc[0])
    tables.timing += timing_rows(inputs, variant, experiment, trajectories, intensities)


def _score_task(
    inputs: EvaluationInputs, variant: Variant, task: _Task, tables: StageTables
) -> None:
    """Apply the classifiers of one task, and add what depends on its classes."""
    features, name = inputs.features[variant.name], task.fitted.task.name
    tables.metrics += sister_rows(inputs, variant, name, task.rows)
    tables.metrics += separation_rows(inputs, variant, name, task.rows)
    scored, fitted = task.scored, task.fitted
    if scored is None:
        return
    inside = features[task.rows.rows[scored.rows]]
    apply_task(fitted, scored, variant.name, inside)
    tables.add(resolution_rows(inputs, variant, task.rows, fitted, scored))
    if fitted.problem or variant.correction:
        return
    tables.predictions.append(prediction_table(inputs.obs, task.rows, fitted, variant, features))
    curve = learning_rows(scored, variant, inside, fitted.draws[variant.name])
    tables.learning += [{**row, "task": name} for row in curve]
    if inputs.config.shuffles:
        aurocs = null_aurocs(scored, inside, fitted.shuffled[variant.name])
        observed = auroc_of(scored, variant.name)
        null = null_rows(scored, variant, observed, aurocs, fitted.shuffle_note)
        tables.metrics += [{**row, "task": name} for row in null]


def _tabulate(
    reference: Reference, inputs: EvaluationInputs, task: _Task, tables: StageTables
) -> None:
    """Add the scores of the classifiers, all variants side by side."""
    if task.scored is None:
        return
    variants = [variant for variant in reference.ordered if variant.name in task.scored.n_filled]
    given = (inputs.config.bootstrap, inputs.seed)
    scores = tabulate_scores([task.scored], variants, task.fitted.classes, *given)
    tables.add_scores(task.fitted.task.name, task.fitted.task.label, scores)


class _Sample(NamedTuple):
    """Observations of a sample, and which of all they are."""

    obs: pd.DataFrame
    rows: np.ndarray


def _sample_of(inputs: EvaluationInputs, tables: StageTables) -> _Sample:
    """A sample of the experiment with its known and predicted classes."""
    obs = inputs.obs
    for task in inputs.config.tasks:
        predicted = [t for t in tables.predictions if (t["task"] == task.name).all()]
        if predicted:
            # The first variant's.
            obs = obs.assign(**{f"{task.name} (predicted)": _most_probable(predicted[0], obs)})
    rows = sample_rows(obs, inputs.config.tasks, SAMPLE_ROWS)
    return _Sample(obs.iloc[rows].reset_index(drop=True), rows)


def _most_probable(predictions: pd.DataFrame, obs: pd.DataFrame) -> np.ndarray:
    """Most probable class of each observation, object, None where it was not predicted."""
    key = key_of(obs)
    best = predictions.loc[predictions.groupby(key)["probability"].idxmax()]
    row = pd.MultiIndex.from_frame(best[key]).get_indexer(pd.MultiIndex.from_frame(obs[key]))
    classes = np.full(len(obs), None, dtype=object)
    classes[row >= 0] = best["class"].to_numpy(dtype=object)[row[row >= 0]]
    return classes
