"""Building of the page: sections from the results folder, put into the template."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jinja2

from dynaclr.config.grammar import dump_yaml
from dynaclr.io.artifacts import read_json, write_text
from dynaclr.report import content, scores
from dynaclr.report.explorer import build_explorer
from dynaclr.report.figures import PAGE
from dynaclr.report.plan import ReportPlan

logger = logging.getLogger(__name__)

# The first runs before anything is shown, the others at the end of the page, in this order.
_SCRIPTS = (
    *("theme", "common", "tables", "scatter"),
    *("cells", "cell_panel", "map_view", "explorer", "lineages"),
)


def write_report(plan: ReportPlan, results: str | Path, out: str | Path) -> None:
    """Write the report: one file that needs nothing else, and no network, to be read.

    Parameters
    ----------
    plan : ReportPlan
        What was run.
    results : str or Path
        The results folder; nothing outside of it is read.
    out : str or Path
        The page to write (``.html``), whole or not at all, the same bytes for the same results.

    Raises
    ------
    UserError
        When a result is missing or damaged.
    """
    results = Path(results)
    metrics = scores.metrics_of_models(plan, results)
    evaluations = {model: results / "evaluation" / model for model in plan.models}
    text = _template("report.html.j2").render(
        plan=plan,
        # The sentence that each model's evaluation ends with.
        headlines={
            model: read_json(folder / "headline.json")["text"]
            for model, folder in evaluations.items()
        },
        experiments=content.experiments_table(plan, results),
        experiment_parts=content.experiment_parts(plan, results),
        collection_parts=content.collection_parts(plan, results),
        training_parts=content.training_parts(plan, results),
        map_parts=content.evaluation_parts(plan, results, maps=True),
        evaluation_parts=content.evaluation_parts(plan, results, maps=False),
        metric_tables=scores.metric_tables(metrics),
        difference_tables=scores.difference_tables(plan, results),
        comparison_parts=content.comparison_parts(plan, results),
        provenance_parts=content.provenance_parts(plan, results),
        config=dump_yaml(plan.config),
        styles=(PAGE / "report.css").read_text(encoding="utf-8"),
        scripts=[(PAGE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS],
        scores=scores.average_scores(metrics),
        explorer=build_explorer(
            {model: folder / "maps.h5ad" for model, folder in evaluations.items()},
            {name: results / "experiments" / name / "thumbnails.parquet" for name in plan.pictured},
        ),
    )
    write_text(out, text)
    logger.info("%s: %.1f MB", out, len(text.encode()) / 1e6)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = _script_json
    return environment.get_template(name)


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element which holds it."""
    return json.dumps(value, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
