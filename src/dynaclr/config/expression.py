"""Conditions on the columns of a table that a user writes: parsed, checked, then evaluated.

An expression sees the columns of its table and nothing else: no attribute, no call, no variable of
the process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dynaclr.config.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# What an expression may consist of. Powers and shifts are left out, since 9**9**9 has no end.
_ALLOWED = (
    *(ast.Expression, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Name, ast.Load),
    *(ast.Constant, ast.List, ast.Tuple, ast.And, ast.Or, ast.Not, ast.Invert, ast.UAdd, ast.USub),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr),
)
_MOST_CHARACTERS = 10_000
# Text in quotes, or the name of a column in backticks.
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')|`([^`]+)`""")


class Expression:
    r"""A condition on columns: comparisons, arithmetic, ``in``, ``and``, ``or``, ``not``.

    Parameters
    ----------
    text : str
        For example ``condition == 'infected' and hours > 4``. Names of columns that are no words
        stand in backticks: ``\`dose uM\` > 1``.

    Attributes
    ----------
    text : str
    columns : list of str
        Names of the columns that it uses, sorted.

    Raises
    ------
    ValueError
        When it is no such expression: "what is wrong; how to fix it".
    """

    def __init__(self, text: str) -> None:
        self.text = text
        quoted: dict[str, str] = {}

        def replace(found: re.Match[str]) -> str:
            if found[1]:
                return found[1]
            return quoted.setdefault(found[2], f"column_{len(quoted)}_")

        try:
            if not 0 < len(text.strip()) <= _MOST_CHARACTERS:
                raise SyntaxError(f"it has {len(text.strip())} characters")
            # In parentheses it may span lines.
            tree = ast.parse(f"({_QUOTED.sub(replace, text)}\n)", mode="eval")
            nodes = list(ast.walk(tree))
            self._plain = ast.unparse(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or error
            raise ValueError(f"{text!r} is no condition ({reason}); correct it") from None
        for node in nodes:
            if not isinstance(node, _ALLOWED) or (
                isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float)
            ):
                raise ValueError(
                    f"{text!r} may only compare columns with values, and combine comparisons by "
                    f"and, or, not and in, but holds {_shown(node)}; remove it"
                )
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        self._name_of = {column: name for column, name in quoted.items() if name in names}
        self._name_of |= {name: name for name in names - set(quoted.values())}
        self.columns = sorted(self._name_of)

    def rows(self, table: pd.DataFrame, where: str) -> NDArray[np.bool_]:
        """Flag the rows of a table that fulfil the condition.

        Parameters
        ----------
        table : pandas.DataFrame
            n rows.
        where : str
            What to call the condition in a message.

        Returns
        -------
        ndarray of bool, shape (n,)

        Raises
        ------
        UserError
            When the table lacks a column, or the condition does not fit the columns' types.
        """
        self.check_columns(table.columns, where)
        used = table[self.columns].rename(columns=self._name_of)
        try:
            kept: Any = used.eval(self._plain, engine="python", local_dict={}, global_dict={})
        except Exception as error:
            raise UserError(
                f"{where}: {self.text!r} cannot be evaluated ({type(error).__name__}: {error}). "
                "Compare columns with values of their own type."
            ) from error
        if getattr(kept, "shape", None) != (len(table),) or kept.dtype.name not in _BOOLEAN:
            raise UserError(
                f"{where}: {self.text!r} is not true or false for each row. Compare a column in it."
            )
        flags: NDArray[np.bool_] = kept.to_numpy(dtype=bool, na_value=False)
        return flags

    def check_columns(self, known: Iterable[str], where: str) -> None:
        """Check that there are columns of the names that it uses.

        Raises
        ------
        UserError
            Naming the first one that there is not.
        """
        known = list(known)
        for name in self.columns:
            if name not in known:
                raise UserError(
                    f"{where}: {self.text!r}: no column {name!r}. {did_you_mean(name, known)}."
                )


_BOOLEAN = ("bool", "boolean")


def _shown(node: ast.AST) -> str:
    return repr(ast.unparse(node)) if isinstance(node, ast.expr) else type(node).__name__
