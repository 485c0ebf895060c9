"""Training of a linear classifier on embedding stores, and its application to others."""

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
from dynaclr.evaluation.classifiers.cross_validation import CrossValidation
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.classifiers.registry import PUBLISHED
from dynaclr.evaluation.label_tables import LabelPaths
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tasks import select_task
from dynaclr.io.artifacts import atomic_path, digest_path, read_json, write_json
from dynaclr.io.embedding_rows import read_embeddings
from dynaclr.io.embeddings import check_encoder, digest_of_store, key_of


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
        Folder of the classifier, written whole or not at all.
    seed : int
        Seed of the folds of the cross-validation.

    Returns
    -------
    dict
        Provenance, which is saved too: classes, rows, groups, the chosen strength, and the
        cross-validated scores within these experiments.

    Raises
    ------
    UserError
        When stores and labels do not fit, when the stores were made by different encoders, or when
        fewer than two classes are labelled.
    """
    embeddings = read_embeddings(stores)
    task_rows = select_task(embeddings.obs, task, labels)
    train = task_rows.labelled(list(stores))
    found, notes = sorted(set(task_rows.labels[train])), join_notes(*task_rows.notes.values())
    if len(found) < 2:
        raise UserError(
            f"task {task.name!r}: two classes are needed, found {', '.join(found) or 'none'} in "
            f"column {task.label!r} of {len(train)} labelled observations"
            f"{f' ({notes})' if notes else ''}. Label more, or widen the task's `where`."
        )
    names = embeddings.feature_names
    classifier, validation = fit_linear_classifier(
        embeddings.features[task_rows.rows[train]],
        task_rows.labels[train],
        task_rows.groups[train],
        class_weight=task.class_weight,
        seed=seed,
        feature_names=names,
    )
    summary = {
        "task": task.model_dump(mode="json"),
        "encoder": embeddings.encoder,
        "stores": {name: digest_of_store(path) for name, path in sorted(stores.items())},
        "labels": {
            name: digest_path(path)
            for name in sorted(stores)
            if (path := labels.get(name, {}).get(task.source)) is not None
        },
        "classes": list(classifier.classes),
        "n_rows": len(train),
        "n_groups": len(set(task_rows.groups[train])),
        "seed": seed,
        "strength": classifier.strength,
        "cross_validated": _cross_validated_scores(task_rows.labels[train], validation),
        "note": join_notes(validation.note, notes),
        "dynaclr_version": version("dynaclr"),
    }
    classifier.provenance.update(summary)
    classifier.save(folder)
    return summary


def _cross_validated_scores(labels: np.ndarray, validation: CrossValidation) -> dict[str, float]:
    """Scores by name, empty where the rows could not be split."""
    if validation.note:
        return {}
    true = np.searchsorted(np.array(validation.classes, dtype=object), labels)
    scores = classification_scores(true, validation.probability, validation.classes)
    return {name: round(float(value), 6) for name, value in scores.items()}


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
        Table to write, ``.parquet`` or ``.csv``: experiment, fov, track_id, t (and marker),
        ``predicted`` and one ``probability_<class>`` per class. Provenance is in the Parquet file's
        metadata under the key ``dynaclr``, or in ``<path>.json`` beside a CSV.

    Returns
    -------
    pandas.DataFrame
        The table.

    Raises
    ------
    UserError
        When the classifier is damaged, was trained on other features or those of another encoder,
        or the suffix is unknown.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"{path}: the table is written as .parquet or .csv. Change the suffix.")
    classifier = LinearClassifier.load(folder)
    embeddings = read_embeddings(stores)
    _check_features(classifier, folder, embeddings.feature_names)
    trained_on = classifier.provenance.get("encoder", {})
    check_encoder(trained_on, embeddings.encoder, str(folder))
    probability = classifier.predict_proba(embeddings.features)
    note = Path(folder) / PUBLISHED
    table = embeddings.obs[key_of(embeddings.obs)].copy()
    table["predicted"] = np.array(classifier.classes, dtype=object)[probability.argmax(axis=1)]
    for number, name in enumerate(classifier.classes):
        table[f"probability_{name}"] = probability[:, number]
    provenance = {
        "classifier": digest_path(folder),
        "published": read_json(note) if note.is_file() else None,
        "stores": {name: digest_of_store(store) for name, store in sorted(stores.items())},
        "trained": classifier.provenance,
        "dynaclr_version": version("dynaclr"),
    }
    _write_table(table, provenance, path)
    return table


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
    arrow = arrow.replace_schema_metadata({**arrow.schema.metadata, b"dynaclr": note})
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)
