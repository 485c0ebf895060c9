"""Commands that score embeddings and show results: evaluation, comparison, report."""

from __future__ import annotations

from pathlib import Path


def fit(plan: str, out: Path, results: Path = Path("results")) -> None:
    """Fit classifiers, corrections and maps of a model's evaluation on its training experiments.

    Args:
        plan: YAML or JSON text, or a file: model, variants (each one's folder in the results
            folder, which holds <experiment>.zarr), train, labels (of all experiments to read),
            scores_training, statistics (path in the results folder of each experiment),
            evaluation (as in the project configuration).
        out: Folder for the fits, their scores, and samples of the experiments.
        results: The results folder.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import fit_reference

    chosen = load_training(plan)
    stores = {
        variant: {name: results / folder / f"{name}.zarr" for name in chosen["labels"]}
        for variant, folder in chosen["variants"].items()
    }
    config = EvaluationConfig.model_validate(chosen["evaluation"])
    fit_reference(
        *(chosen["model"], stores, chosen["labels"], config, chosen["train"], out),
        statistics={name: results / path for name, path in chosen.get("statistics", {}).items()},
        scores_training=chosen["scores_training"],
    )


def take(plan: str, reference: Path, out: Path) -> None:
    """Take classifiers, corrections and maps that came with a frozen model, instead of fitting.

    Args:
        plan: YAML or JSON text, or a file: model, variants, evaluation.
        reference: Folder of the fits: `reference` in a bundle.
        out: Folder for those of the model's variants, their scores, and samples.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import take_reference

    chosen = load_training(plan)
    config = EvaluationConfig.model_validate(chosen["evaluation"])
    take_reference(reference, chosen["model"], chosen["variants"], config, out)


def score(plan: str, reference: Path, out: Path, results: Path = Path("results")) -> None:
    """Score one experiment with what `dynaclr evaluation fit` fitted.

    Args:
        plan: YAML or JSON text, or a file: experiment, variants, labels, statistics, trained_on,
            evaluation.
        reference: Folder of the fits.
        out: Folder for the tables, and a sample of the experiment.
        results: The results folder.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import score_experiment

    chosen = load_training(plan)
    name = chosen["experiment"]
    variants = chosen["variants"].items()
    stores = {variant: results / folder / f"{name}.zarr" for variant, folder in variants}
    config = EvaluationConfig.model_validate(chosen["evaluation"])
    statistics = chosen.get("statistics", {}).get(name)
    score_experiment(
        *(reference, name, stores, chosen["labels"], config, out),
        statistics=None if statistics is None else results / statistics,
        trained_on=chosen["trained_on"],
    )


def join(plan: str, evaluation: Path) -> None:
    """Join the tables of a model's evaluation, and compare its experiments with each other.

    Args:
        plan: YAML or JSON text, or a file: scored, held_out, evaluation.
        evaluation: Folder that holds reference and experiments/<experiment>, and gets the tables.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import join_scores

    chosen = load_training(plan)
    scored = {name: evaluation / "experiments" / name for name in chosen["scored"]}
    config = EvaluationConfig.model_validate(chosen["evaluation"])
    join_scores(evaluation / "reference", scored, config, chosen["held_out"], evaluation)


def maps(plan: str, evaluation: Path) -> None:
    """Join the samples of a model's experiments, with their places on its maps.

    Args:
        plan: YAML or JSON text, or a file: held_out, cells (most of them in maps.h5ad).
        evaluation: Folder that holds reference and experiments/<experiment>, and gets maps.h5ad.
    """
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import join_maps, sample_paths

    chosen = load_training(plan)
    held_out = chosen["held_out"]
    scored = {name: evaluation / "experiments" / name for name in held_out}
    samples = sample_paths(evaluation / "reference", scored, held_out)
    join_maps(samples, chosen["cells"], evaluation / "maps.h5ad")


def compare(plan: str, evaluations: Path, out: Path) -> None:
    """Compare evaluated models: tables, and contrasts with verdicts.

    Args:
        plan: YAML or JSON text, or a file: as `comparison` in the project configuration.
        evaluations: Folder that holds <model>/metrics.csv.
        out: Folder for metrics.csv and differences.csv.
    """
    from dynaclr.config import ComparisonConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import compare_models

    config = ComparisonConfig.model_validate(load_training(plan))
    compare_models({name: evaluations / name for name in config.models}, config, out)


def concat(stores: list[Path], out: Path) -> None:
    """Write the embedding stores of several experiments as one.

    Args:
        stores: AnnData stores (.zarr) of one model.
        out: Store to write: .zarr, or .h5ad.
    """
    from dynaclr.io.embeddings import concatenate_stores

    joined = concatenate_stores(stores, out)
    print(f"{out}: {joined.n_obs:,} observations of {len(stores)} stores")


def annotate(
    stores: list[Path],
    table: Path,
    key: list[str] | None = None,
    columns: list[str] | None = None,
    replace: bool = False,
) -> None:
    """Append columns of a table to embedding stores by key: to all of them, or to none.

    Args:
        stores: AnnData stores (.zarr) or maps (.h5ad), changed in place.
        table: Table (.csv or .parquet).
        key: Columns that both share; default: those of experiment, fov, track_id and t that the
            table has.
        columns: Columns to append; default: all that are no key.
        replace: Replace columns of the same name.
    """
    from dynaclr.evaluation import append_columns

    append_columns(stores, table, key, columns, replace)


def report(plan: str, results: Path = Path("results"), out: Path | None = None) -> None:
    """Write the report: one self-contained page of what lies in a results folder.

    Args:
        plan: YAML or JSON text, or a file: experiments, collections, models, figures, config.
        results: The results folder.
        out: Page to write; default: report.html in the results folder.
    """
    from dynaclr.config.training import load_training
    from dynaclr.report import ReportPlan, write_report

    chosen = ReportPlan.model_validate(load_training(plan))
    write_report(chosen, results, out or results / "report.html")
