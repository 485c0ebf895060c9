"""Paths of products, relative to the folder in which Snakemake runs."""

from __future__ import annotations

from collections.abc import Iterable

RESULTS = "results"
# What `dynaclr figures evaluation` draws, in the order of the report.
_EVALUATION_FIGURES = (
    *("embedding.png", "classifiers.svg", "roc.svg", "confusion.svg", "reliability.svg"),
    *("learning.svg", "resolution.svg", "kinetics.svg", "temporal.svg", "mixing.svg"),
    *("kept.svg", "behaviour.svg", "timing.svg", "health.svg", "drift.svg"),
)


class Paths:
    """Paths of all products; names that are left out stay wildcards of Snakemake.

    >>> Paths().experiment("summary.json")
    'results/experiments/{experiment}/summary.json'
    """

    experiments = f"{RESULTS}/experiments"
    evaluations = f"{RESULTS}/evaluation"
    comparison = f"{RESULTS}/comparison"
    report = f"{RESULTS}/report.html"
    # What planning keeps between its runs: facts read from files, checks that passed, long plans.
    cache = ".snakemake/dynaclr"

    def experiment(self, file: str = "", name: str = "{experiment}") -> str:
        """Product of one experiment; without a file, its folder."""
        return f"{self.experiments}/{name}/{file}".rstrip("/")

    def of_experiments(self, names: Iterable[str], *files: str) -> list[str]:
        """The same products of several experiments."""
        return [self.experiment(file, name) for name in names for file in files]

    def collection(self, file: str = "", name: str = "{collection}") -> str:
        """Product of one merged collection."""
        return f"{RESULTS}/collections/{name}/{file}".rstrip("/")

    def model(self, file: str = "", name: str = "{model}") -> str:
        """Product of a model that all of its seeds share."""
        return f"{RESULTS}/models/{name}/{file}".rstrip("/")

    def seed(self, file: str = "", model: str = "{model}", seed: int | str = "{seed}") -> str:
        """Product of one training."""
        return self.model(f"seed{seed}/{file}".rstrip("/"), model)

    def ceiling(self, task: str = "{task}", model: str = "{model}") -> str:
        """Encoder of a model that was trained on the labels of a task."""
        return self.model(f"ceiling/{task}.ckpt", model)

    def embeddings(self, model: str = "{model}") -> str:
        """Folder of a model's embeddings."""
        return f"{RESULTS}/embeddings/{model}"

    def embedding(
        self, variant: str, experiment: str = "{experiment}", model: str = "{model}"
    ) -> str:
        """Embedding store of an experiment by a variant of a model: `seed0`, `seed0-untrained`."""
        return f"{self.embeddings(model)}/{variant}/{experiment}.zarr"

    def baseline(
        self, file: str = "", collection: str = "{collection}", patches: str = "{patches}"
    ) -> str:
        """Product of the baselines that models of a collection share; `patches` is a digest."""
        return f"{RESULTS}/baselines/{collection}/{patches}/{file}".rstrip("/")

    def evaluation(self, file: str = "", model: str = "{model}") -> str:
        """Product of one model's evaluation."""
        return f"{self.evaluations}/{model}/{file}".rstrip("/")

    def reference(self, model: str = "{model}") -> str:
        """Folder of what a model's evaluation fits on the training experiments."""
        return self.evaluation("reference", model)

    def scored(self, model: str = "{model}", experiment: str = "{experiment}") -> str:
        """Folder of the scores of one experiment by a model."""
        return self.evaluation(f"experiments/{experiment}", model)

    def evaluation_figures(self, model: str = "{model}") -> list[str]:
        """Figures of one model's evaluation."""
        return [self.evaluation(file, model) for file in _EVALUATION_FIGURES]
