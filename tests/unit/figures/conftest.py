"""What the figures are drawn from: an evaluation, and the command that draws."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.evaluation.conftest import evaluate, make_synthetic

from dynaclr.cli.main import main


@pytest.fixture
def command(monkeypatch) -> Callable[..., None]:
    """Run `dynaclr figures` in this process."""

    def run(*arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["dynaclr", "figures", *map(str, arguments)])
        main()

    return run


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> Path:
    """Tables and maps of two tasks: one of two classes and one of three."""
    made = make_synthetic(tmp_path_factory.mktemp("drawn"), n_tracks=24, n_frames=5)
    del made.stores["seed1"]
    evaluate(made, made.folder / "model")
    return made.folder / "model"


@pytest.fixture
def texts() -> Callable[[Path], str]:
    """All words of an SVG file, line by line."""

    def read(path: Path) -> str:
        content = path.read_text()
        assert "mathdefault" not in content, "a tick is written as a formula"
        return "\n".join(re.findall(r">([^<>\n]+)</(?:text|tspan)>", content))

    return read
