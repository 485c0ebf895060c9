"""Errors that a person reads: what is wrong, where, and what to do."""

from __future__ import annotations

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
