"""Commands for linear classifiers on embeddings: train, apply, publish and fetch."""

from __future__ import annotations

from pathlib import Path


def train(
    embeddings: Path,
    names: list[str],
    task: str,
    out: Path,
    project: Path = Path("config/config.yaml"),
) -> None:
    """Train a linear classifier of one task on embeddings and save it as arrays and JSON.

    Args:
        embeddings: Folder that holds <experiment>.zarr.
        names: Experiments to train on.
        task: Name of the task in the project configuration.
        out: Folder for the classifier.
        project: Project configuration: its tasks, and the label tables of its experiments.
    """
    from dynaclr.config.project import load_project
    from dynaclr.evaluation import train_linear_classifier
    from dynaclr.io import check_all_on_disk

    loaded = load_project(project, check_files=check_all_on_disk)
    stores = {name: embeddings / f"{name}.zarr" for name in names}
    train_linear_classifier(stores, loaded.labels(names), loaded.task(task), out)


def apply(classifier: Path, embeddings: Path, names: list[str], out: Path) -> None:
    """Predict the classes of all observations of experiments.

    Args:
        classifier: Folder of a classifier.
        embeddings: Folder that holds <experiment>.zarr.
        names: Experiments to predict.
        out: Table to write (.parquet or .csv).
    """
    from dynaclr.evaluation import apply_linear_classifier

    stores = {name: embeddings / f"{name}.zarr" for name in names}
    apply_linear_classifier(classifier, stores, out)


def publish(classifier: Path, registry: Path, name: str) -> None:
    """Publish a classifier as the next version of a name in a registry folder.

    Args:
        classifier: Folder of a classifier.
        registry: The registry folder.
        name: Name to publish it under.
    """
    from dynaclr.evaluation import publish_classifier

    print(f"{name} {publish_classifier(classifier, registry, name)}")


def fetch(registry: Path, name: str, out: Path, version: str = "latest") -> None:
    """Copy a published classifier from a registry folder.

    Args:
        registry: The registry folder.
        name: Name of the classifier.
        out: Folder to write.
        version: A version such as v3, or latest.
    """
    from dynaclr.evaluation import fetch_classifier

    print(f"{name} {fetch_classifier(registry, name, out, version)}")
