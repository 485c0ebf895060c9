"""The figure of the rules knows them all."""

import importlib.util
import re
from pathlib import Path


def test_every_rule_has_its_position(repository: Path):
    spec = importlib.util.spec_from_file_location("rulegraph", repository / "docs/rulegraph.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = (repository / "workflow/rules").glob("*.smk")
    named = re.compile(r"^(?:rule|use rule \w+ as) (\w+)", re.MULTILINE)
    rules = {name for file in files for name in named.findall(file.read_text())}
    # It is made in a loop, most often once.
    rules.add("embed")
    assert {*module.POSITIONS, *module.OMITTED} == rules
