"""Commands that draw the figures of a stage's products."""

from __future__ import annotations

from pathlib import Path


def experiment(experiment: Path) -> None:
    """Draw qc.svg and intensity.svg of an experiment.

    Args:
        experiment: Folder of an experiment's results.
    """
    from dynaclr.figures.experiment import draw_experiment

    draw_experiment(experiment)


def simulation(entry: str, out: Path) -> None:
    """Draw what was simulated: every well, and how some cells change over time.

    Args:
        entry: The experiment entry with its simulation block (YAML file, or YAML or JSON text).
        out: Figure to write.
    """
    from dynaclr.config import load_entry
    from dynaclr.figures.simulation import draw_simulation

    draw_simulation(load_entry(entry), out)


def collection(collection: Path) -> None:
    """Draw composition.svg of a collection.

    Args:
        collection: Folder of the merged collection.
    """
    from dynaclr.figures.composition import draw_collection

    draw_collection(collection)


def training(model: Path) -> None:
    """Draw curves.svg of a training.

    Args:
        model: Folder of the training: <model>/seed<seed>.
    """
    from dynaclr.figures.training import draw_training

    draw_training(model)


def evaluation(evaluation: Path) -> None:
    """Draw all figures of a model's evaluation.

    Args:
        evaluation: Folder of the evaluation's tables and maps.
    """
    from dynaclr.figures.evaluation import draw_evaluation

    draw_evaluation(evaluation)


def comparison(comparison: Path) -> None:
    """Draw figures/<metric>.svg of each compared metric.

    Args:
        comparison: Folder of the comparison's tables.
    """
    from dynaclr.figures.comparison import draw_comparison

    draw_comparison(comparison)
