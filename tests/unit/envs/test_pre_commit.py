"""What is checked before a commit is what `make lint` checks."""

import re
from pathlib import Path

import yaml


def test_hooks_are_the_checks_of_make_lint(repository: Path):
    makefile = (repository / "Makefile").read_text().replace("\\\n", " ")
    (recipe,) = re.findall(r"^lint:.*\n\t\$\(ACTIVATE\) && (.*)$", makefile, re.MULTILINE)
    checks = [" ".join(check.split()) for check in recipe.split("&&")]
    (repo,) = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"] for hook in repo["hooks"]] == checks
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
