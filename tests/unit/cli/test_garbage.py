"""Garbage is looked for seldom, but it is looked for."""

import subprocess
import sys

# Cycles are made until the first of them is found to be garbage.
SCRIPT = """
import gc, sys, weakref
from dynaclr.cli.main import main
usual = gc.get_threshold()
sys.argv = ["dynaclr", "--help"]
try:
    main()
except SystemExit:
    pass
class Cycle:
    def __init__(self):
        self.itself = self
first, made = weakref.ref(Cycle()), 0
while first() is not None:
    Cycle()
    made += 1
    assert made < 100_000, "nothing looks for garbage"
assert made > usual[0]
"""


def test_a_command_seldom_looks_and_still_finds_garbage():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
