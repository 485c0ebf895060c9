"""A rule that reads pixels runs again when a module changes that its result comes from."""

import ast
import re
from pathlib import Path

import dynaclr

PACKAGE = Path(dynaclr.__file__).parent
RULES = Path(__file__).parents[3] / "workflow/rules"
# What does not change a result: how loops are compiled.
WITHOUT_EFFECT = {"data/compiled.py"}


def imported_by(module: str) -> set[str]:
    """Modules of `data` that a module imports, and those that they import."""
    found, left = set(), [module]
    while left:
        name = left.pop()
        if name in found or not name.startswith("data/"):
            continue
        found.add(name)
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dynaclr."):
                left.append(node.module.removeprefix("dynaclr.").replace(".", "/") + ".py")
    return found


def named_in(text: str) -> set[str]:
    return set(re.findall(r'"(data/\w+\.py)"', text))


COMMON = (RULES / "common.smk").read_text()
READING = COMMON[COMMON.index("reading_code = ") : COMMON.index("storing_code = ")]
STORING = COMMON[COMMON.index("storing_code = ") : COMMON.index("training_code = ")]


def test_statistics_name_all_that_they_are_made_by():
    named = named_in(READING) | named_in((RULES / "statistics.smk").read_text())
    assert "data/statistics.py" in named
    # Statistics take whole chunks: no piece of one is copied.
    assert imported_by("data/statistics.py") - WITHOUT_EFFECT - {"data/pieces.py"} == named


def test_patch_stores_name_all_that_they_are_made_by():
    named = named_in(READING) | named_in(STORING)
    assert "data/storing.py" in named
    # What is to be cut is a parameter of the rule.
    assert imported_by("data/storing.py") - WITHOUT_EFFECT - {"data/cuts.py"} == named
