"""Running a benchmark's script as a person does."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"


def lines_of(script: str, *arguments: str) -> list[str]:
    """What a script of this folder prints; it must succeed."""
    command = [sys.executable, FOLDER / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
