"""What came with a frozen model: the reference of its evaluation, made that of another name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.config.pretrained import BUNDLE
from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.classifiers.fitted_task import FittedTask
from dynaclr.evaluation.reference import Reference
from dynaclr.evaluation.samples import read_sample, write_sample
from dynaclr.evaluation.stage_tables import change_tables
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embeddings import open_anndata
from dynaclr.io.folder_digests import read_verified_folder

logger = logging.getLogger(__name__)


def take_reference(
    source: str | Path,
    model: str,
    variants: Iterable[str],
    config: EvaluationConfig,
    folder: str | Path,
) -> None:
    """Copy a reference: classifiers, maps, samples and training scores of some variants.

    Parameters
    ----------
    source : str or Path
        Folder of `fit_reference`, of a bundle.
    model : str
        Name of the frozen model, a column of the tables.
    variants : iterable of str
        Variants without correction that the frozen model has.
    config : EvaluationConfig
        Of this project. Its tasks do not count: they are those of the reference.
    folder : str or Path
        Written whole or not at all, with its digest beside it.

    Raises
    ------
    UserError
        When the reference is damaged, or has no classifiers or map of the model's variant.
    """
    source, folder, wanted = Path(source), Path(folder), set(variants)
    if (source.parent / BUNDLE).is_file():
        read_verified_folder(source.parent, BUNDLE)
    given = Reference.load(source)
    _check_variants(source, given, wanted)

    def is_wanted(variant: str) -> bool:
        return parse_variant(variant).base in wanted

    def kept(by_variant: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in by_variant.items() if is_wanted(name)}

    tasks = [_with_variants(fitted, kept) for fitted in given.tasks]
    _log_other_tasks([fitted.task.name for fitted in tasks], config)
    reference = replace(
        given,
        model=model,
        tasks=tasks,
        feature_names=kept(given.feature_names),
        encoders=kept(given.encoders),
        variants=kept(given.variants),
        maps=kept(given.maps),
    )
    with atomic_path(folder) as temporary:
        (temporary / "samples").mkdir(parents=True)
        reference.save(temporary)
        for path in sorted((source / "samples").glob("*.h5ad")):
            _copy_sample(path, reference, temporary / "samples" / path.name)
        change_tables(source, temporary, lambda table: _rows_of(table, is_wanted, model))
    write_digest(folder)


def _check_variants(source: Path, given: Reference, wanted: set[str]) -> None:
    for name in sorted(wanted):
        if name not in given.feature_names:
            raise UserError(
                f"{source}: has no classifiers of {name}, but of {', '.join(given.feature_names)}. "
                "Make the bundle of the evaluated training, or name a `collection` to fit others."
            )
    if not wanted & given.maps.keys():
        raise UserError(
            f"{source}: has no map of {', '.join(sorted(wanted))}, but of "
            f"{', '.join(given.maps)}: only the first seed has one. Make the bundle of that seed, "
            "or name a `collection` to fit others."
        )


def _with_variants(fitted: FittedTask, kept: Callable[[dict[str, Any]], Any]) -> FittedTask:
    changes = {name: kept(getattr(fitted, name)) for name in ("classifiers", "shuffled", "draws")}
    return replace(fitted, **changes)


def _log_other_tasks(fitted: list[str], config: EvaluationConfig) -> None:
    asked = [task.name for task in config.tasks]
    if asked and asked != fitted:
        logger.warning(
            "scored by the tasks that came with the model (%s), not by those of this project (%s)",
            *(", ".join(fitted), ", ".join(asked)),
        )


def _copy_sample(path: Path, reference: Reference, target: Path) -> None:
    obs, features = read_sample(path)
    features = {name: features[name] for name in reference.feature_names if name in features}
    n_observations = json.loads(open_anndata(path).uns["dynaclr"])["n_cells"]
    maps = {name: fitted for name, fitted in reference.maps.items() if name in features}
    given = (obs, features, reference.feature_names, maps, n_observations, reference.seed)
    write_sample(target, *given)


def _rows_of(table: pd.DataFrame, is_wanted: Callable[[str], bool], model: str) -> pd.DataFrame:
    """Rows of some variants, or all of a table of experiments, under the name of another model."""
    for column in ("variant", "baseline"):
        if column in table:
            table = table[table[column].map(is_wanted).astype(bool)]
    return table.assign(model=model) if "model" in table else table
