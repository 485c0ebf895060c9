"""Log levels of this and of other packages."""

from __future__ import annotations

import logging
import warnings

from dynaclr.config.errors import printable


class _Formatter(logging.Formatter):
    """Formats records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def set_up_logging(debug: bool) -> None:
    """Log to the standard error output, and of talkative packages warnings alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", datefmt="%H:%M:%S")
    )
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for package in ("matplotlib", "numba", "fsspec", "asyncio", "zarr", "PIL", "numexpr"):
        logging.getLogger(package).setLevel(logging.WARNING)


def quiet_lightning() -> None:
    """Log only warnings of Lightning, whose lines about itself hide what the stage reports."""
    import lightning.pytorch

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=lightning.pytorch.__name__)
