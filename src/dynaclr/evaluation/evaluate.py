"""A whole evaluation in one process: fit, score each experiment, join."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.evaluation.fit import fit_reference
from dynaclr.evaluation.join import join_maps, join_scores, sample_paths
from dynaclr.evaluation.label_tables import LabelPaths
from dynaclr.evaluation.score import score_experiment


def evaluate_model(
    model: str,
    stores: Mapping[str, Mapping[str, str | Path]],
    labels: LabelPaths,
    config: EvaluationConfig,
    train_experiments: list[str],
    held_out_experiments: list[str],
    out_dir: str | Path,
    seed: int = 0,
    max_cells: int = 50_000,
) -> dict[str, Any]:
    """Score a model's embeddings and its baselines on the same rows; write tables and maps.

    The workflow runs the same stages as jobs of their own.

    Parameters
    ----------
    model : str
        Name, a column of the tables.
    stores : mapping
        Variant (``seed0``, ``seed0-untrained``, ``intensity``) to experiment to embedding store.
    labels : mapping
        Experiment to the paths of its label tables, ``annotations`` and ``truth``; None or
        absent where it has none.
    config : EvaluationConfig
        Tasks, control condition, columns of truth, resamples.
    train_experiments : list of str
        Classifiers are fitted on these together, and validated within and between them.
    held_out_experiments : list of str
        Classifiers are scored on each of these.
    out_dir : str or Path
        Gets ``reference``, ``experiments/<experiment>``, the joined tables (`join_scores`) and
        ``maps.h5ad``.
    seed : int
        Seed of folds, resamples, subsamples and UMAP.
    max_cells : int
        Most observations in ``maps.h5ad``.

    Returns
    -------
    dict
        The content of ``headline.json``.

    Raises
    ------
    UserError
        When stores, tables or tasks do not fit each other.
    """
    both = sorted(set(train_experiments) & set(held_out_experiments))
    if both:
        raise UserError(
            f"evaluation: {', '.join(both)} is both trained on and held out. Leave it in one."
        )
    for name in [*train_experiments, *held_out_experiments]:
        _stores_of(stores, name)
    out_dir = Path(out_dir)
    reference = out_dir / "reference"
    known = {
        variant: {name: path for name, path in paths.items() if name not in held_out_experiments}
        for variant, paths in stores.items()
    }
    fit_reference(
        *(model, known, labels, config, train_experiments, reference),
        scores_training=not held_out_experiments,
        seed=seed,
    )
    scored = {}
    for name in held_out_experiments or train_experiments:
        scored[name] = out_dir / "experiments" / name
        score_experiment(
            *(reference, name, _stores_of(stores, name), {name: labels.get(name, {})}, config),
            scored[name],
            trained_on=not held_out_experiments,
        )
    headline = join_scores(reference, scored, config, held_out_experiments, out_dir)
    samples = sample_paths(reference, scored, held_out_experiments)
    join_maps(samples, max_cells, out_dir / "maps.h5ad")
    return headline


def _stores_of(
    stores: Mapping[str, Mapping[str, str | Path]], experiment: str
) -> dict[str, str | Path]:
    found = {variant: paths[experiment] for variant, paths in stores.items() if experiment in paths}
    if not found:
        known = sorted({name for paths in stores.values() for name in paths})
        raise UserError(
            f"evaluation: no embedding store of experiment {experiment!r} was given. "
            f"{did_you_mean(experiment, known)}."
        )
    return found
