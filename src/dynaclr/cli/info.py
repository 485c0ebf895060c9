"""Type and summary of what is at a path, for `dynaclr info`."""

from __future__ import annotations

from pathlib import Path

from dynaclr.config import UserError
from dynaclr.config.errors import printable

# Files that a folder of results is summarized by, in this order.
_SUMMARIZED = ("index.arrow", "cells.parquet", "best.ckpt")


def show(path: Path) -> None:
    """Print the summary of what lies at `path`.

    Raises
    ------
    UserError
        When it is none of the kinds that are known.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title, lines = summarize(path)
    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        table.add_row(Text(printable(name), "bold"), printable(text))
    # Brackets in names are no markup.
    console = Console(highlight=False, markup=False)
    console.print(Text(printable(str(path)), "bold"), f": {title}", sep="", soft_wrap=True)
    console.print(table)


def summarize(path: Path) -> tuple[str, dict[str, str]]:
    """Kind of what lies at `path`, and its summary: text by name."""
    if not path.exists():
        raise UserError(f"{path}: nothing is there. Correct the path.")
    for name in _SUMMARIZED if path.is_dir() else ():
        if (path / name).is_file():
            return summarize(path / name)
    if path.name in ("index.arrow", "cells.parquet"):
        from dynaclr.index.summary import summarize_index

        return "index", summarize_index(path)
    if path.suffix in (".ckpt", ".pt", ".pth"):
        from dynaclr.training.weights import summarize_checkpoint

        return "checkpoint", summarize_checkpoint(path)
    if path.suffix == ".h5ad" or _is_anndata(path):
        from dynaclr.io.embeddings import summarize_store

        return "AnnData", summarize_store(path)
    if path.is_dir():
        from dynaclr.io import Plate

        return "OME-Zarr plate", Plate(path).summary()
    raise UserError(
        f"{path}: is no plate, index (cells.parquet, index.arrow), checkpoint (.ckpt) or AnnData "
        "store (.zarr, .h5ad)."
    )


def _is_anndata(path: Path) -> bool:
    """Whether a Zarr folder says that it is AnnData, in either format of Zarr."""
    documents = (path / "zarr.json", path / ".zattrs")
    return any(file.is_file() and '"anndata"' in file.read_text("utf-8") for file in documents)
