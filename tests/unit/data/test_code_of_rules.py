"""A rule that reads pixels runs again when a module changes that its result comes from."""

import ast
import importlib
import re
from pathlib import Path

import dynaclr

PACKAGE = Path(dynaclr.__file__).parent
RULES = Path(__file__).parents[3] / "workflow/rules"
# What changes no result: how loops are compiled.
WITHOUT_EFFECT = {"data/compiled.py"}


def imported_by(module: str) -> set[str]:
    """Modules of `data` that a module imports, with what they import; of `index`, only the module.

    The table of cells, which modules of `index` make of one another's, is an input of the rules.
    """
    found, left = set(), [module]
    while left:
        name = left.pop()
        if name in found or not name.startswith(("data/", "index/")):
            continue
        found.add(name)
        if name.startswith("index/"):
            continue
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            assert not (isinstance(node, ast.Import) and "dynaclr" in node.names[0].name)
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, "else this does not see it"
                left += defined_in(node)
    return found


def defined_in(node: ast.ImportFrom) -> list[str]:
    """Files of the modules of this package that names come from."""
    if not (node.module or "").startswith("dynaclr."):
        return []
    imported = importlib.import_module(node.module)
    modules = [
        imported.__name__
        if not hasattr(imported, "__path__")
        else getattr(getattr(imported, alias.name), "__module__", imported.__name__)
        for alias in node.names
    ]
    return [module.removeprefix("dynaclr.").replace(".", "/") + ".py" for module in modules]


def named_in(text: str) -> set[str]:
    return set(re.findall(r'"((?:data|index)/\w+\.py)"', text))


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
    assert {"data/storing.py", "index/anchors.py"} <= named
    # What is to be cut is a parameter of the rule; a store has all markers, in their order.
    decided_before = {"data/cuts.py", "index/markers.py"}
    assert imported_by("data/storing.py") - WITHOUT_EFFECT - decided_before == named
