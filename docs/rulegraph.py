"""Figure of the workflow's rules and their order, from Snakemake's rule graph: make figures."""

import re
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from dynaclr.figures.style import figure_style, save_figure

FILE = Path(__file__).with_name("rulegraph.svg")
# Position of each rule (column, row), and what it is done once for.
POSITIONS = {
    "simulate": (0, 1, "experiment"),
    "index": (1, 2, "experiment"),
    "statistics": (1, 0, "experiment"),
    "merge": (2, 2, "collection"),
    "patches": (2, 0.4, "experiment"),
    "inspect_batches": (3.5, 3, "model"),
    "train": (3, 2, "model and seed"),
    "fit_pixels": (3, 0.4, "collection"),
    "embed": (4, 2, "model, experiment"),
    "embed_baselines": (4, 0.4, "collection, experiment"),
    "thumbnails": (4, -0.6, "experiment"),
    "fit_evaluation": (5, 1.4, "model"),
    "score": (6, 0.6, "model, experiment"),
    "evaluate": (7, 1.4, "model"),
    "compare": (7.5, 2.4, "project"),
    "report": (8, 1.4, "project"),
}
# Left out of the graph: figures of a rule's products, experiments without a patch store, labels
# where trainings or evaluations name them, frozen models and their references, and ceilings.
OMITTED = {
    *(f"draw_{what}" for what in ("experiment", "simulation", "collection", "training")),
    *("draw_evaluation", "draw_comparison", "plate_alone", "labels", "map_cells"),
    *("freeze", "take_reference", "fit_ceiling"),
}
WIDTH, HEIGHT = 0.8, 0.56


def rule_graph() -> dict[str, set[str]]:
    """Every rule and the rules that it waits for, without what follows from others."""
    command = ["snakemake", "--rulegraph", "mermaid-js"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", listing, flags=re.MULTILINE))
    waits_for = defaultdict(set)
    for first, then in re.findall(r"(id\d+) --> (id\d+)", listing):
        waits_for[names[then]].add(names[first])
    before = {}
    for rule in (rule for rule in POSITIONS if rule in names.values()):
        passed = (waits_for[other] for other in waits_for[rule] & OMITTED)
        before[rule] = waits_for[rule].union(*passed) & POSITIONS.keys()

    @cache
    def ancestors(rule: str) -> frozenset[str]:
        return frozenset(before[rule]).union(*(ancestors(other) for other in before[rule]))

    return {
        rule: {one for one in waits if not any(one in ancestors(other) for other in waits)}
        for rule, waits in before.items()
    }


def draw() -> None:
    """Draw the graph from left to right and save it."""
    with figure_style():
        figure, axes = plt.subplots(figsize=(11, 3.8))
        for rule, waits in rule_graph().items():
            x, y, unit = POSITIONS[rule]
            draw_box(axes, x, y, rule.replace("_", " "), f"per {unit}")
            for other in waits:
                draw_arrow(axes, POSITIONS[other][:2], (x, y))
        axes.set(xlim=(-0.5, 8.5), ylim=(-1, 3.4))
        axes.axis("off")
        save_figure(figure, FILE)


def draw_box(axes: plt.Axes, x: float, y: float, name: str, unit: str) -> None:
    """Draw a rule."""
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    box = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": "#E8F1F8", "ec": "#0072B2"}
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, **box, zorder=2))
    axes.text(x, y + 0.08, name, ha="center", va="center", fontsize=8)
    axes.text(x, y - 0.14, unit, ha="center", va="center", fontsize=6, color="#555555")


def draw_arrow(axes: plt.Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow from a rule's right edge to another's left; boxes hide what is behind them."""
    arrow = {"arrowstyle": "-|>", "color": "#777777", "lw": 0.8, "shrinkA": 0, "shrinkB": 1}
    ends = (end[0] - WIDTH / 2, end[1]), (start[0] + WIDTH / 2, start[1])
    axes.annotate("", ends[0], ends[1], arrowprops=arrow, zorder=1)


if __name__ == "__main__":
    draw()
