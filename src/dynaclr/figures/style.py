"""One style for all figures: colour-blind-safe, quiet, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dynaclr.config.variants import Variant
from dynaclr.io.artifacts import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008), reordered so that the first ones differ most.
CATEGORICAL = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
# Perceptually uniform; for hours, densities and other ordered values.
SEQUENTIAL = "viridis"
# Baselines in quiet colours; what is judged stands out.
_KIND_COLORS = {
    "trained": CATEGORICAL[0],
    "untrained": "#777777",
    "intensity": CATEGORICAL[1],
    "pixels": CATEGORICAL[3],
}

_STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.4,
    # Element ids in SVG files are salted; a fixed salt gives the same bytes each time.
    "svg.hashsalt": "dynaclr",
    "svg.fonttype": "none",
}


def color_of(names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Colour for each name, in sorted order, so that a name keeps its colour across figures."""
    return {name: CATEGORICAL[i % len(CATEGORICAL)] for i, name in enumerate(sorted(set(names)))}


def kind_color(kind: str) -> str:
    """Colour of a kind of variant, the same in every figure, whatever the correction."""
    return _KIND_COLORS.get(kind.partition("+")[0], CATEGORICAL[2])


def face_of(variant: Variant) -> dict[str, str]:
    """Hollow markers for corrected variants."""
    return {"markerfacecolor": "white"} if variant.correction else {}


def count_of(n_rows: float) -> str:
    """Words for a number of observations."""
    return f"n = {n_rows:,.0f}"


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw inside this context to get the project's style, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: str | Path, dpi: float | None = None) -> None:
    """Write a figure whole or not at all, without a date in it, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : str or Path
        Its suffix (``.svg``, ``.png``, ``.pdf``) says the format.
    dpi : float, optional
        Pixels an inch of a raster image; default: the project's.
    """
    import matplotlib.pyplot as plt

    path = Path(path)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    if path.suffix == ".pdf":
        metadata = {"CreationDate": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=metadata, dpi=dpi or plt.rcParams["savefig.dpi"])
        if path.suffix == ".png":
            _shrink(temporary)
    plt.close(figure)


def draw_nothing(text: str, path: str | Path) -> None:
    """A figure that says why there is none."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 1.5))
    axis.text(0.5, 0.5, text, ha="center", va="center")
    axis.set_axis_off()
    save_figure(figure, path)


def _shrink(path: Path) -> None:
    """Keep 256 colours of a PNG: a third of the size, and no difference that an eye sees."""
    from PIL import Image

    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
