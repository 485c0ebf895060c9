"""Evaluation: embedding stores and label tables in, tables of metrics and maps out.

Read `evaluate` first: it calls the stages `fit`, `score` and `join`, which call `*_scores.py` for
one variant after another. `metrics` holds the formulas as functions of arrays, `classifiers` the
linear classifiers.
"""

from dynaclr.evaluation.annotate import append_columns
from dynaclr.evaluation.classifiers.fit_and_apply import (
    apply_linear_classifier,
    train_linear_classifier,
)
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.classifiers.registry import fetch_classifier, publish_classifier
from dynaclr.evaluation.comparison import compare_models
from dynaclr.evaluation.evaluate import evaluate_model
from dynaclr.evaluation.fit import fit_reference
from dynaclr.evaluation.given_reference import take_reference
from dynaclr.evaluation.join import join_maps, join_scores, sample_paths
from dynaclr.evaluation.score import score_experiment
from dynaclr.evaluation.tasks import classes_of
from dynaclr.io.embeddings import read_store

__all__ = [
    "LinearClassifier",
    "append_columns",
    "apply_linear_classifier",
    "classes_of",
    "compare_models",
    "evaluate_model",
    "fetch_classifier",
    "fit_linear_classifier",
    "fit_reference",
    "join_maps",
    "join_scores",
    "publish_classifier",
    "read_store",
    "sample_paths",
    "score_experiment",
    "take_reference",
    "train_linear_classifier",
]
