"""Last stage of an evaluation: tables are joined, and samples of experiments compared."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig
from dynaclr.evaluation.control_distance_scores import control_distance_across
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.health_scores import experiment_purity_rows
from dynaclr.evaluation.inputs import EvaluationInputs, make_inputs
from dynaclr.evaluation.mixing_scores import mixing_rows
from dynaclr.evaluation.reference import Reference
from dynaclr.evaluation.samples import join_samples, read_sample
from dynaclr.evaluation.stage_tables import StageTables, join_folders
from dynaclr.evaluation.tables import Rows
from dynaclr.evaluation.temporal_scores import pooled_smoothness_rows
from dynaclr.io.artifacts import atomic_path, write_digest, write_json
from dynaclr.io.subsample import whole_lineages

logger = logging.getLogger(__name__)

# Observations, of all experiments together, that are compared over experiments.
JOINED_ROWS = 20_000


def join_scores(
    reference_folder: str | Path,
    scored: Mapping[str, str | Path],
    config: EvaluationConfig,
    held_out: list[str],
    out_dir: str | Path,
) -> dict[str, Any]:
    """Join the tables of an evaluation, and compare its experiments with each other.

    Parameters
    ----------
    reference_folder : str or Path
        Of `fit_reference`.
    scored : mapping
        Experiment to its folder of `score_experiment`.
    config : EvaluationConfig
    held_out : list of str
        Those of `scored` that were not trained on.
    out_dir : str or Path
        Gets ``metrics.csv`` with every metric, ``curves.csv`` with those that run over hours,
        further tables (``differences.csv``, ``confusion.csv``, ``reliability.csv``,
        ``learning.csv``, ``onsets.csv``, ``predictions.parquet``), ``cells.csv`` and
        ``resampled.parquet`` by which models are paired, and last ``headline.json``.

    Returns
    -------
    dict
        The content of ``headline.json``.
    """
    reference_folder, out_dir = Path(reference_folder), Path(out_dir)
    reference = Reference.load(reference_folder)
    config = config.model_copy(update={"tasks": [fitted.task for fitted in reference.tasks]})
    samples = sample_paths(reference_folder, scored, held_out)
    if len(held_out) > 1:
        samples = {name: samples[name] for name in held_out}
    inputs, features = _read_samples(reference, config, samples, held_out)
    tables = StageTables()
    for name in features:
        logger.info("experiments compared by %s", name)
        target = reference.variants[name].target
        corrected = inputs.with_variant(name, features[name], target)
        for variant in corrected.variants:
            tables.add(
                Rows(mixing_rows(corrected, variant), []),
                Rows(pooled_smoothness_rows(corrected, variant), []),
                control_distance_across(corrected, variant),
                Rows(experiment_purity_rows(corrected, variant), []),
            )
    out_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as across:
        tables.write(Path(across), reference.model, inputs)
        join_folders([reference_folder, *map(Path, scored.values()), Path(across)], out_dir)
    task = reference.tasks[0].task.name if reference.tasks else None
    headline = {"model": reference.model, **summarize(out_dir, task)}
    write_json(out_dir / "headline.json", headline)
    return headline


def join_maps(samples: Mapping[str, str | Path], max_cells: int, path: str | Path) -> None:
    """Write the maps of several experiments as one file, and its digest.

    Parameters
    ----------
    samples : mapping
        Experiment to its sample.
    max_cells : int
        Most observations.
    path : str or Path
        ``maps.h5ad``: scanpy and cellxgene open it.
    """
    joined = join_samples({name: Path(file) for name, file in samples.items()}, max_cells)
    with atomic_path(path) as temporary:
        joined.write_h5ad(temporary, compression="gzip")
    write_digest(path)


def sample_paths(
    reference_folder: str | Path, scored: Mapping[str, str | Path], held_out: list[str]
) -> dict[str, Path]:
    """Path of the sample of every experiment, by name in order."""
    fitted = sorted(Path(reference_folder, "samples").glob("*.h5ad"))
    paths = {path.stem: path for path in fitted}
    paths |= {name: Path(scored[name], "sample.h5ad") for name in held_out}
    return dict(sorted(paths.items()))


def _read_samples(
    reference: Reference,
    config: EvaluationConfig,
    samples: Mapping[str, Path],
    held_out: list[str],
) -> tuple[EvaluationInputs, dict[str, np.ndarray]]:
    """Observations of all samples, equally many of each, and features of the fitted variants."""
    observations, features = [], dict[str, list[np.ndarray]]()
    for path in samples.values():
        obs, variants = read_sample(path)
        rows = whole_lineages(obs, max(1, JOINED_ROWS // len(samples)))
        observations.append(obs.iloc[rows])
        for variant, values in variants.items():
            features.setdefault(variant, []).append(values[rows])
    obs = pd.concat(observations, ignore_index=True)
    present = [name for name in held_out if name in samples]
    inputs = make_inputs(obs, {}, config, reference.train, present, reference.seed)
    # A variant that some experiments lack cannot be compared over experiments.
    complete = {v: np.concatenate(f) for v, f in features.items() if len(f) == len(samples)}
    return inputs, complete
