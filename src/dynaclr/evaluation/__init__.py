"""Evaluation: embedding stores in, metrics tables and figures out."""

from dynaclr.evaluation.classify import apply_linear_classifier, train_linear_classifier
from dynaclr.evaluation.evaluate import evaluate_model
from dynaclr.evaluation.linear_classifier import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.stores import read_store

__all__ = [
    "LinearClassifier",
    "apply_linear_classifier",
    "evaluate_model",
    "fit_linear_classifier",
    "read_store",
    "train_linear_classifier",
]
