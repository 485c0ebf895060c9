"""The page: sections gathered from the results folder and put into the template."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jinja2
import yaml

from dynaclr.io.artifacts import read_json, write_text
from dynaclr.report import content
from dynaclr.report.explorer import build_explorer
from dynaclr.report.figures import PAGE
from dynaclr.report.plan import ReportPlan

logger = logging.getLogger(__name__)

_SCRIPTS = ("theme.js", "tables.js", "charts.js", "explorer.js", "lineages.js")


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
        When a result is missing.
    """
    results = Path(results)
    metrics = content.read_metrics(plan, results)
    page = _environment().get_template("report.html.j2")
    text = page.render(
        plan=plan,
        headlines=_headlines(plan, results),
        experiments=content.experiments_table(plan, results),
        experiment_parts=content.experiment_parts(plan, results),
        collection_parts=content.collection_parts(plan, results),
        training_parts=content.training_parts(plan, results),
        map_parts=content.evaluation_parts(plan, results, maps=True),
        evaluation_parts=content.evaluation_parts(plan, results, maps=False),
        metric_tables=content.metric_tables(metrics),
        difference_tables=content.difference_tables(plan, results),
        comparison_parts=content.comparison_parts(results),
        provenance_parts=content.provenance_parts(plan, results),
        config=yaml.safe_dump(plan.config, sort_keys=True, allow_unicode=True),
        styles=_read("report.css"),
        scripts=[_read(name) for name in _SCRIPTS],
        data=_data(plan, results, metrics),
    )
    write_text(out, text)
    logger.info("%s: %.1f MB", out, len(text.encode()) / 1e6)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = _script_json
    return environment


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element which holds it."""
    return json.dumps(value, sort_keys=True, allow_nan=False).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _headlines(plan: ReportPlan, results: Path) -> dict[str, str]:
    """The sentence that each model's evaluation ends with."""
    paths = {model: results / "evaluation" / model / "headline.json" for model in plan.models}
    return {model: read_json(path)["text"] for model, path in paths.items()}


def _data(plan: ReportPlan, results: Path, metrics: Any) -> dict[str, Any]:
    """What the page's scripts draw."""
    maps = {model: results / "evaluation" / model / "maps.h5ad" for model in plan.models}
    pictures = {
        name: path
        for name in plan.experiments
        if (path := results / "experiments" / name / "thumbnails.parquet").is_file()
    }
    manifest, arrays, images = build_explorer(maps, pictures)
    return {
        "manifest": manifest,
        "arrays": arrays,
        "images": images,
        "scores": content.average_scores(metrics),
        "curves": content.read_curves(plan, results),
    }
