"""Conditions of users see columns and nothing else."""

import ast
import builtins
import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.config import UserError
from dynaclr.config.expression import Expression

TABLE = pd.DataFrame(
    {
        "condition": pd.Categorical(["mock", "infected", "it's `x`"]),
        "hours": [1.0, 2.0, 3.0],
        "t": [1, 2, 3],
        "dose uM": [0.5, 1.5, 2.5],
    }
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("condition == 'mock'", [0]),
        ("condition in ['mock', 'infected'] and hours > 1", [1]),
        ("condition not in ('mock',)", [1, 2]),
        ("`dose uM` * 2 > 1 and not t == 2", [2]),
        ("1 < hours <= 3", [1, 2]),
        ("(hours > 2) | (t < 2)", [0, 2]),
        ("hours > 1 &\n t < 3  # a note", [1]),
        ("~(hours - t / 2 > 1)", [0, 1]),
        ('condition == "it\'s `x`"', [2]),
    ],
)
def test_rows_that_fulfil_a_condition(text, kept):
    assert np.flatnonzero(Expression(text).rows(TABLE, "query")).tolist() == kept


def test_columns_that_are_used_are_known_before_any_table():
    assert Expression("`dose uM` > 1 and t in [1]").columns == ["dose uM", "t"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("condition = 'x'", "is no condition"),
        ("", "is no condition"),
        ("t > ", "is no condition"),
        ("`t", "is no condition"),
        ("t >" + "-" * 9000 + "1", "is no condition"),
        ("t" + " + 1" * 9000 + " > 1", "is no condition"),
        ("@TABLE", "is no condition"),
        ("t.to_csv('x') > 1", "may only compare"),
        ("__import__('os')", "may only compare"),
        ("t[0] == 1", "may only compare"),
        ("t == f'{t}'", "may only compare"),
        ("9 ** 9 ** 9 == t", "may only compare"),
        ("t == b'a'", "may only compare"),
        ("(x := t) == 1", "may only compare"),
    ],
)
def test_what_is_no_condition(text, message):
    with pytest.raises(ValueError, match=message):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tt == 1", "no column 'tt'. Did you mean 't'"),
        ("hours > 'late'", "cannot be evaluated"),
        ("condition > 'a'", "cannot be evaluated"),
        ("hours", "not true or false"),
        ("1 == 1", "not true or false"),
        ("[t]", "true or false|cannot be evaluated"),
    ],
)
def test_conditions_that_do_not_fit_the_table(text, message):
    with pytest.raises(UserError, match=f"query: .*{message}"):
        Expression(text).rows(TABLE, "query")


NAMES = ["t", "hours", "condition", "`dose uM`", "__class__", "TABLE", "os"]
ATOM = st.sampled_from([*NAMES, "1", "2.5", "'mock'", "['mock']", "()", "None", "True"])
SOUND = ["{} == {}", "{} < {}", "{} in {}", "{} and {}", "{} | {}", "{} + {}", "{} % {}"]
UNSOUND = ["{}.{}", "{}[{}]", "{}({})", "{} ** {}", "{} if t else {}", "[{} for x in {}]", "@{}{}"]
JOIN = st.sampled_from(SOUND + UNSOUND)
TEXTS = st.recursive(
    ATOM, lambda inner: st.builds(lambda join, a, b: join.format(a, b), JOIN, inner, inner)
)


@given(TEXTS)
def test_no_expression_calls_anything_or_leaves_its_table(text):
    try:
        rows = Expression(text).rows(TABLE, "query")
    except (ValueError, UserError):
        return
    assert rows.dtype == bool
    assert rows.shape == (3,)
    kinds = {
        type(node) for node in ast.walk(ast.parse(text.replace("`dose uM`", "d"), mode="eval"))
    }
    assert not kinds & {ast.Attribute, ast.Call, ast.Subscript, ast.ListComp, ast.IfExp, ast.Pow}


@given(
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.integers(-5, 5) | st.floats(-5, 5),
    st.sampled_from(["t", "hours", "dose uM"]),
)
def test_comparisons_are_those_of_python(symbol, value, column):
    compare = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[symbol]
    found = Expression(f"`{column}` {symbol} {value!r}").rows(TABLE, "query")
    assert found.tolist() == [getattr(operator, compare)(v, value) for v in TABLE[column]]


@pytest.mark.parametrize("name", ["open", "eval", "exit", "print", "sin"])
def test_names_of_functions_are_columns_or_nothing(name):
    assert hasattr(builtins, name) or name == "sin"
    with pytest.raises(UserError, match=f"no column '{name}'"):
        Expression(f"{name} == 1").rows(TABLE, "query")
    table = pd.DataFrame({name: [1, 2]})
    assert Expression(f"{name} == 1").rows(table, "query").tolist() == [True, False]
