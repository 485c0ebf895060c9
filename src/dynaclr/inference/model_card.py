"""The model card of a bundle: what a model is, what it saw, how well it did and how it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynaclr.config.metrics import HELD_OUT
from dynaclr.config.pretrained import FACTS, SETTINGS
from dynaclr.config.training import load_training
from dynaclr.io.artifacts import read_json
from dynaclr.io.metric_tables import read_metrics

_METRICS = ("auroc", "average_precision")


def model_card(
    folder: Path,
    name: str,
    entries: Sequence[dict[str, Any]],
    modules: Sequence[str],
    evaluation_dir: Path | None,
) -> str:
    """Markdown text about the model in a folder.

    Parameters
    ----------
    folder : Path
        With ``config.yaml`` and ``provenance.json``.
    name : str
        Title.
    entries : sequence of dict
        Entries of the experiments that it was trained on, if they are known.
    modules : sequence of str
        Modules of the user's own that it needs.
    evaluation_dir : Path, optional
        Whose scores are quoted.
    """
    settings, facts = load_training(folder / SETTINGS), read_json(folder / FACTS)
    parts = [
        f"# {name}\n\nAn encoder of cell states from time-lapse microscopy, trained with DynaCLR.",
        _training(settings, facts, entries),
        _input(settings["data"]),
        *([_scores(evaluation_dir)] if evaluation_dir is not None else []),
        _use(modules),
    ]
    return "\n\n".join(parts) + "\n"


def _training(
    settings: dict[str, Any], facts: dict[str, Any], entries: Sequence[dict[str, Any]]
) -> str:
    model = settings["model"]
    encoder = model["init_args"].get("encoder") or model["init_args"].get("network") or {}
    versions = facts.get("packages", {})
    rows = {
        "module": model["class_path"],
        "encoder": encoder.get("class_path", ""),
        "seed": facts.get("seed"),
        "epoch, counted from 0": facts.get("best_epoch"),
        "checkpoint (SHA-256)": facts.get("checkpoint"),
        "dynaclr, torch": ", ".join(str(versions.get(p, "?")) for p in ("dynaclr", "torch")),
    }
    text = "## Training\n\n" + _table(["", ""], [[k, v] for k, v in rows.items() if v is not None])
    # Of what was moved elsewhere since, the names alone are known.
    known = entries or [{"name": name} for name in facts.get("statistics", {})]
    columns = [
        "trained or validated on",
        "markers",
        "conditions",
        "minutes between frames",
        "microscope",
    ]
    described = [
        [
            entry["name"],
            ", ".join(channel["marker"] for channel in entry.get("channels", [])),
            ", ".join(entry.get("condition_wells", {})),
            entry.get("interval_minutes", ""),
            entry.get("microscope") or "",
        ]
        for entry in known
    ]
    return text + ("\n\n" + _table(columns, described) if described else "")


def _input(data: dict[str, Any]) -> str:
    patches, normalization = data["patches"], data["normalization"]
    pixel = patches["reference_pixel_size_um"]
    rows = [
        ["markers, in this order", ", ".join(patches["markers"])],
        ["size (y, x)", f"{patches['size'][0]} x {patches['size'][1]} pixels"],
        ["pixel", "that of the plate" if pixel is None else f"{pixel} um, resampled to it"],
        ["planes", f"{patches['depth']}, around the {patches['z_window']}"],
        ["projection of planes", patches["projection"]],
        ["one marker at a time", "yes" if patches["bag_of_channels"] else "no"],
        [
            "normalization",
            f"(pixel - {normalization['center']}) / {normalization['spread']} of each "
            f"{normalization['level']} and marker",
        ],
    ]
    text = "A marker that was not imaged is filled with zeros after normalization."
    return "## Input\n\n" + _table(["", ""], rows) + f"\n\n{text}"


def _scores(evaluation_dir: Path) -> str:
    headline = read_json(evaluation_dir / "headline.json")["text"]
    metrics = read_metrics(evaluation_dir / "metrics.csv")
    chosen = metrics[
        metrics["metric"].isin(_METRICS)
        & (metrics["estimate"] == HELD_OUT)
        & ~metrics["kind"].str.contains("+", regex=False)
        & metrics["value"].notna()
    ]
    columns = ["task", "experiment", "variant", "metric", "value", "low", "high"]
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else value for value in row]
        for row in chosen[columns].itertuples(index=False)
    ]
    table = "\n\n" + _table(columns, rows) if rows else ""
    return f"## Scores\n\n{headline}{table}"


def _use(modules: Sequence[str]) -> str:
    code = ""
    if modules:
        code = (
            f"\n\nIts encoder is made of {', '.join(modules)}, in `code/`. Read them, since they "
            "will run, and put them beside the project's configuration (for the check: on "
            "`PYTHONPATH`)."
        )
    return (
        "## Use\n\nIn the configuration of a project, with the path of this folder:\n\n"
        "```yaml\nmodels:\n  frozen: {pretrained: /path/of/this/folder}\n"
        "evaluation:\n  experiments: [my_plate]\n```\n\n"
        "`dynaclr bundle --check /path/of/this/folder` verifies that every file is as it was "
        "written, and that the encoder embeds the patches of `patches.npz` as it did where it was "
        f"made.{code}"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
