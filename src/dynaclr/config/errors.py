"""Error messages for users: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# Control characters but tab and line end, overrides of the writing direction, halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with control characters written out: names in tables must not steer a terminal."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


class UserError(Exception):
    """An error in what the user gave, shown without a traceback.

    The command line prints the message and exits with code 2; ``--debug`` shows the traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass
class Problems:
    """Collects errors so that all of them are shown at once.

    Attributes
    ----------
    found : list of str
        One message an error: where it is, what is wrong, and what to do.
    """

    found: list[str] = field(default_factory=list)

    def add(self, where: object, what: str, fix: str) -> None:
        """Add one error: where it is, what is wrong there, and how to fix it."""
        self.found.append(f"{where}: {what}. {fix}")

    def raise_if_any(self) -> None:
        """Raise all errors as one.

        Raises
        ------
        UserError
            When at least one error was added.
        """
        if not self.found:
            return
        if len(self.found) == 1:
            raise UserError(self.found[0])
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(self.found, 1))
        raise UserError(f"{len(self.found)} problems:\n{lines}")


def did_you_mean(name: str, known: Iterable[str], most: int = 12) -> str:
    """Sentence that names the nearest known name, if one is near, and the first known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:most]) + (" ..." if len(known) > most else "")
    return f"Did you mean {close[0]!r}? Known: {listed}" if close else f"Known: {listed}"
