"""Other programs are used by their public interfaces: nothing in them is replaced or private."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MODULES = sorted((REPOSITORY / "src").rglob("*.py"))
RULES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "workflow").rglob("*.smk"))]
# The module of Snakemake that is documented for use in workflows.
ALLOWED = "snakemake.utils"
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+import\s+(.+)|import\s+(.+))$", re.MULTILINE)
# Snakemake gives rules these objects; they are its own.
GIVEN = {"workflow", "rules", "checkpoints", "shell"}
CHANGED = re.compile(r"^\s*(\w+)((?:\.\w+)+)\s*(?:[-+*/|&]=|=(?!=))", re.MULTILINE)


def in_rules(text: str) -> list[str]:
    """What a file of rules does that it should not; Python cannot parse such a file."""
    found, names = [], set(GIVEN)
    for module, imported, modules in IMPORT.findall(text):
        for name in [module] if module else re.split(r"\s*,\s*", modules):
            if name.startswith("snakemake") and name != ALLOWED:
                found.append(f"imports {name}")
        names |= {part.split()[-1] for part in re.split(r"\s*,\s*", imported or modules) if part}
    found += [f"assigns {a}{b}" for a, b in CHANGED.findall(text) if a in names]
    found += [f"sets {name}" for name in re.findall(r"\bsetattr\(\s*(\w+)", text) if name in names]
    return found + [f"reads {text}" for text in re.findall(r"\bworkflow\._\w+", text)]


def in_module(text: str) -> list[str]:
    """The same of a Python module; names of this package are its own."""
    tree, found = ast.parse(text), []
    foreign: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            names = {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules, names = [node.module], {alias.asname or alias.name for alias in node.names}
        else:
            continue
        found += [f"imports {m}" for m in modules if m.startswith("snakemake") and m != ALLOWED]
        foreign |= names if not modules[0].startswith("dynaclr") else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and root_of(node) in foreign:
            if isinstance(node.ctx, ast.Store | ast.Del):
                found.append(f"assigns {ast.unparse(node)}")
            elif node.attr.startswith("_") and not node.attr.endswith("__"):
                found.append(f"reads {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            name = root_of(node.args[0])
            found += [f"sets {name}"] if name in foreign else []
    return found


def root_of(node: ast.AST) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_rules_use_public_interfaces(file: Path):
    assert in_rules(file.read_text()) == []


def test_modules_use_public_interfaces():
    found = {str(f.relative_to(REPOSITORY)): in_module(f.read_text()) for f in MODULES}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "from snakemake.dag import DAG\nDAG.bfs = behind\n",
            ["imports snakemake.dag", "assigns DAG.bfs"],
        ),
        ("from snakemake.utils import min_version\n", []),
        ("import snakemake.jobs as jobs\n", ["imports snakemake.jobs"]),
        ("import time\ntime.sleep = None\n", ["assigns time.sleep"]),
        ("import time\nsetattr(time, 'sleep', None)\n", ["sets time"]),
    ],
)
def test_what_reaches_into_others_is_found(text: str, found: list[str]):
    assert in_module(text) == found
    assert in_rules(text.replace("import snakemake.jobs as jobs", "import snakemake.jobs")) == found


def test_objects_of_snakemake_are_its_own():
    text = "workflow.storage_settings.shared_fs_usage -= {1}\nx = workflow._scheduler\n"
    assert in_rules(text) == [
        "assigns workflow.storage_settings.shared_fs_usage",
        "reads workflow._scheduler",
    ]
    assert in_module("import torch\nx = torch._C._thing\n") == [
        "reads torch._C._thing",
        "reads torch._C",
    ]
