"""What Snakemake is told of the package."""

import os
import subprocess
import sys
from pathlib import Path

from dynaclr.cli.run import shell_prefix


def test_prefix_makes_the_command_of_a_folder_with_any_name(tmp_path):
    source = tmp_path / 'it\'s a {clone} "of" $HOME'
    (source / "dynaclr").mkdir(parents=True)
    (source / "dynaclr/__init__.py").touch()
    (source / "dynaclr/__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", shell_prefix(source).format() + "dynaclr index 'two words' | cat"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['index', 'two words']\n", done.stderr
    assert done.returncode == 7, "a command's failure is not lost in a pipe"
