"""What all figures share: style, colours, grids of panels, legends, and how files are written.

The same data gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.config.variants import Variant
from dynaclr.io.artifacts import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

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
# Lines and marks of what is expected by chance.
REFERENCE = "#444444"
# Baselines in quiet colours; what is judged stands out.
_KIND_COLORS = {
    "trained": CATEGORICAL[0],
    "untrained": "#777777",
    "intensity": CATEGORICAL[1],
    "texture": CATEGORICAL[2],
    "pixels": CATEGORICAL[3],
    "ceiling": CATEGORICAL[5],
}

_STYLE: Any = {
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
    # Names are the user's: a dollar sign begins no formula. Nor can ticks of logarithmic axes be
    # formulas, so these need a formatter.
    "text.parse_math": False,
}


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
    from PIL import Image

    path = Path(path)
    undated = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix, "Software")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={undated: None}, dpi=dpi or plt.rcParams["savefig.dpi"])
        if path.suffix == ".png":
            # 256 colours take a third of the size, with no difference that an eye sees.
            with Image.open(temporary) as image:
                reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                reduced.save(temporary, optimize=True)
    plt.close(figure)


def draw_message(text: str, path: str | Path) -> None:
    """Write a figure that says in words why there is nothing to draw."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 1.5))
    axis.text(0.5, 0.5, text, ha="center", va="center")
    axis.set_axis_off()
    save_figure(figure, path)


def panel_grid(
    n_panels: int,
    size: tuple[float, float],
    n_columns: int | None = None,
    *,
    margin: float = 0.0,
    **options: Any,
) -> tuple[Figure, np.ndarray]:
    """Make a grid of panels of one size; those beyond the last one are hidden.

    Parameters
    ----------
    n_panels : int
    size : tuple of float
        Width and height of a panel, inches.
    n_columns : int, optional
        Columns at most; default: all panels in one row.
    margin : float
        Width that is left for a legend on the right, inches.
    **options
        Of `matplotlib.pyplot.subplots`.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : numpy.ndarray of matplotlib.axes.Axes
        Shape (rows, columns).
    """
    import matplotlib.pyplot as plt

    n_columns = min(n_columns or n_panels, n_panels)
    n_rows = -(-n_panels // n_columns)
    figsize = (size[0] * n_columns + margin, size[1] * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=figsize, squeeze=False, **options)
    for axis in axes.flat[n_panels:]:
        axis.set_visible(False)
    return figure, axes


def title_figure(figure: Figure | SubFigure, text: str, **options: Any) -> None:
    """Put the title of a whole figure above its left edge."""
    figure.suptitle(text, x=0.01, ha="left", **options)


def legend_beside(
    axis: Axes, described: Axes | None = None, *, reverse: bool = False, title: str | None = None
) -> None:
    """Put a legend to the right of a panel.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        The last panel of a row.
    described : matplotlib.axes.Axes, optional
        The panel whose entries are shown; default: `axis`.
    reverse : bool
        Show the entries in reverse order.
    title : str, optional
    """
    handles, labels = (described or axis).get_legend_handles_labels()
    # The first entry of a name stands for all of them.
    first = {label: handle for handle, label in reversed([*zip(handles, labels, strict=True)])}
    names = list(dict.fromkeys(labels))[:: -1 if reverse else 1]
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axis.legend([first[name] for name in names], names, title=title, **where)


def legend_labels(labels: Sequence[str]) -> list[str | None]:
    """Labels of as many entries as there are colours; one for all the others; then None."""
    n_colors, n_others = len(CATEGORICAL), len(labels) - len(CATEGORICAL)
    if n_others <= 0:
        return list(labels)
    return [*labels[:n_colors], f"and {n_others} more", *[None] * (n_others - 1)]


def draw_shares(
    axis: Axes,
    values: np.ndarray,
    texts: Sequence[Sequence[str]],
    rows: Iterable[str],
    columns: Iterable[str],
    *,
    white_above: float,
    **options: Any,
) -> None:
    """Draw a matrix as shades of blue with its values in words.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
    values : numpy.ndarray
        Shape (rows, columns); nothing is written where it is NaN.
    texts : sequence of sequence of str
        Words for each value.
    rows, columns : iterable of str
        Labels.
    white_above : float
        Text is white on values above it, else black.
    **options
        Of `matplotlib.axes.Axes.imshow`.
    """
    axis.imshow(values, cmap="Blues", **options)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value > white_above else "black"
            axis.text(j, i, texts[i][j], ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(values.shape[1]), columns)
    axis.set_yticks(range(values.shape[0]), rows)
    axis.grid(False)


def bin_edges(values: NDArray[Any], bins: int) -> list[float]:
    """Edges of equally wide bins; of values that are alike but for rounding too, unlike numpy's.

    Parameters
    ----------
    values : ndarray, shape (n,)
        At least one, all finite.
    bins : int

    Returns
    -------
    list of float
        One more than `bins`, rising.
    """
    low, high = float(np.min(values)), float(np.max(values))
    least = 1e-6 * max(1.0, abs(low), abs(high))
    return list(np.linspace(low, max(high, low + least), bins + 1))


def color_of(names: Iterable[str]) -> dict[str, str]:
    """Colour for each name, in sorted order, so that a name keeps its colour across figures."""
    return {name: CATEGORICAL[i % len(CATEGORICAL)] for i, name in enumerate(sorted(set(names)))}


def kind_color(kind: str) -> str:
    """Colour of a kind of variant, the same in every figure, whatever the correction."""
    return _KIND_COLORS.get(kind.partition("+")[0], CATEGORICAL[2])


def marker_face(variant: Variant) -> dict[str, Any]:
    """Hollow markers for corrected variants."""
    return {"markerfacecolor": "white"} if variant.correction else {}


def count_text(n_rows: float) -> str:
    """Words for a number of observations."""
    return f"n = {n_rows:,.0f}"
