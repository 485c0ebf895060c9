"""Errors that a person reads: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field


class UserError(Exception):
    """A fault in what the user gave, told without a traceback.

    The command line prints the message and exits with code 2; ``--debug`` shows the traceback.
    """


@dataclass
class Problems:
    """Collects faults so that all of them are told at once.

    Attributes
    ----------
    found : list of str
        One entry a fault, each saying what is wrong, where, and what to do.
    """

    found: list[str] = field(default_factory=list)

    def add(self, where: object, what: str, fix: str) -> None:
        """Add one fault: the place, what is wrong there, and the way to mend it."""
        self.found.append(f"{where}: {what}. {fix}")

    def raise_if_any(self) -> None:
        """Raise one `UserError` with every fault found, if there is any.

        Raises
        ------
        UserError
            When at least one fault was added.
        """
        if not self.found:
            return
        if len(self.found) == 1:
            raise UserError(self.found[0])
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(self.found, 1))
        raise UserError(f"{len(self.found)} problems:\n{lines}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Tell the known names, the nearest first where one is near."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
    return f"Did you mean {close[0]!r}? Known: {listed}" if close else f"Known: {listed}"
