"""Commands that score embeddings and show results: evaluation, comparison, report."""

from __future__ import annotations

from pathlib import Path


def evaluate(plan: str, out: Path, results: Path = Path("results")) -> None:
    """Judge a model's embeddings on held-out experiments, beside its baselines.

    Args:
        plan: YAML or JSON text, or a file: model, variants (each one's folder in the results
            folder, which holds <experiment>.zarr), train, held_out, labels, evaluation (as in the
            project configuration), cells (most of them in maps.h5ad).
        out: Folder for tables and maps.
        results: The results folder.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import evaluate_model

    chosen = load_training(plan)
    stores = {
        variant: {name: results / folder / f"{name}.zarr" for name in chosen["labels"]}
        for variant, folder in chosen["variants"].items()
    }
    evaluate_model(
        chosen["model"],
        stores,
        chosen["labels"],
        EvaluationConfig.model_validate(chosen["evaluation"]),
        chosen["train"],
        chosen["held_out"],
        out,
        max_cells=chosen["cells"],
    )


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
