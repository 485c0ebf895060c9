"""Train a linear classifier on embedding stores, and apply one to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dynaclr.config import TaskConfig, UserError
from dynaclr.config.metrics import join_notes
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.classifiers.registry import NOTE
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tasks import LabelPaths, select_task
from dynaclr.io.artifacts import atomic_path, digest_path, read_json, write_json
from dynaclr.io.embeddings import check_encoder, digest_of_store, key_of, read_cohort

_VARIANT = "features"


def train_linear_classifier(
    stores: Mapping[str, str | Path],
    labels: LabelPaths,
    task: TaskConfig,
    folder: str | Path,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a classifier of one task on embedding stores and save it.

    Parameters
    ----------
    stores : mapping
        Experiment to embedding store.
    labels : mapping
        Experiment to the paths of its label tables, ``annotations`` and ``truth``.
    task : TaskConfig
    folder : str or Path
        Where the classifier is written, whole or not at all.
    seed : int
        Decides the folds of the cross-validation.

    Returns
    -------
    dict
        What was learned from: classes, rows, groups, the chosen strength, and the
        cross-validated scores within these experiments. Stands in the saved provenance too.

    Raises
    ------
    UserError
        When stores and labels do not fit, when the stores were made by different encoders, or when
        fewer than two classes are labelled.
    """
    cohort = read_cohort({_VARIANT: stores})
    rows = select_task(cohort.obs, task, labels)
    train = rows.labelled(list(stores))
    found = sorted(set(rows.labels[train]))
    if len(found) < 2:
        raise UserError(
            f"task {task.name!r}: two classes are needed, found {', '.join(found) or 'none'} in "
            f"column {task.label!r} of {len(train)} labelled observations"
            f"{_because(rows.notes)}. Label more, or widen the task's `where`."
        )
    names = cohort.feature_names[_VARIANT]
    classifier, validation = fit_linear_classifier(
        cohort.features[_VARIANT][rows.rows[train]],
        rows.labels[train],
        rows.groups[train],
        seed=seed,
        feature_names=names,
    )
    scores = {}
    if not validation.note:
        true = pd.Categorical(rows.labels[train], categories=list(validation.classes)).codes
        scores = classification_scores(true, validation.probability, validation.classes)
    summary = {
        "task": task.model_dump(mode="json"),
        "encoder": cohort.encoders[_VARIANT],
        "stores": {name: digest_of_store(path) for name, path in sorted(stores.items())},
        "labels": _label_digests(labels, task, list(stores)),
        "classes": list(classifier.classes),
        "n_rows": len(train),
        "n_groups": len(set(rows.groups[train])),
        "seed": seed,
        "strength": classifier.strength,
        "cross_validated": {name: round(float(value), 6) for name, value in scores.items()},
        "note": join_notes(validation.note, *rows.notes.values()),
        "dynaclr_version": version("dynaclr"),
    }
    classifier.provenance.update(summary)
    classifier.save(folder)
    return summary


def apply_linear_classifier(
    folder: str | Path, stores: Mapping[str, str | Path], path: str | Path
) -> pd.DataFrame:
    """Predict classes of all observations of embedding stores and write them as a table.

    Parameters
    ----------
    folder : str or Path
        Of a saved classifier.
    stores : mapping
        Experiment to embedding store.
    path : str or Path
        Table to write, ``.parquet`` or ``.csv``: experiment, fov, track_id, t (of a bag of
        channels also marker), ``predicted`` and one ``probability_<class>`` a class. Provenance is
        in the Parquet file's metadata under the key ``dynaclr``, or in ``<path>.json`` beside a
        CSV.

    Returns
    -------
    pandas.DataFrame
        The table.

    Raises
    ------
    UserError
        When the classifier is damaged, was trained on other features or another encoder's, or the
        suffix is unknown.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"{path}: the table is written as .parquet or .csv. Change the suffix.")
    classifier = LinearClassifier.load(folder)
    cohort = read_cohort({_VARIANT: stores})
    _check_features(classifier, folder, cohort.feature_names[_VARIANT])
    trained_on = classifier.provenance.get("encoder", {})
    check_encoder(trained_on, cohort.encoders[_VARIANT], str(folder))
    probability = classifier.predict_proba(cohort.features[_VARIANT])
    table = cohort.obs[key_of(cohort.obs)].copy()
    table["predicted"] = np.array(classifier.classes, dtype=object)[probability.argmax(axis=1)]
    for number, name in enumerate(classifier.classes):
        table[f"probability_{name}"] = probability[:, number]
    provenance = {
        "classifier": digest_path(folder),
        "published": _published(Path(folder)),
        "stores": {name: digest_of_store(store) for name, store in sorted(stores.items())},
        "trained": classifier.provenance,
        "dynaclr_version": version("dynaclr"),
    }
    _write_table(table, provenance, path)
    return table


def _published(folder: Path) -> dict[str, str] | None:
    """Name, version and digest of a classifier that was fetched from a registry."""
    note = folder / NOTE
    return read_json(note) if note.is_file() else None


def _check_features(classifier: LinearClassifier, folder: str | Path, names: list[str]) -> None:
    trained = list(classifier.feature_names)
    if names == trained:
        return
    raise UserError(
        f"{folder}: was trained on {len(trained)} features ({', '.join(trained[:3])} ...), the "
        f"stores hold {len(names)} ({', '.join(names[:3])} ...). "
        "Apply it to embeddings of the model it was trained on."
    )


def _write_table(table: pd.DataFrame, provenance: dict[str, Any], path: Path) -> None:
    if path.suffix == ".csv":
        write_json(path.with_name(path.name + ".json"), provenance)
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
        return
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    note = json.dumps(provenance, sort_keys=True).encode()
    with atomic_path(path) as temporary:
        pq.write_table(
            arrow.replace_schema_metadata({**arrow.schema.metadata, b"dynaclr": note}), temporary
        )


def _label_digests(labels: LabelPaths, task: TaskConfig, experiments: list[str]) -> dict[str, str]:
    paths = {name: labels.get(name, {}).get(task.source) for name in sorted(experiments)}
    return {name: digest_path(path) for name, path in paths.items() if path is not None}


def _because(notes: Mapping[str, str]) -> str:
    told = join_notes(*notes.values())
    return f" ({told})" if told else ""
