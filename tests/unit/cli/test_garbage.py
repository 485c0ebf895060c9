"""Garbage is looked for seldom, but it is looked for."""

import subprocess
import sys

# Cycles are made until the first of them is found to be garbage.
SCRIPT = """
import gc, weakref
from dynaclr.cli.garbage import look_for_garbage_seldom
usual = gc.get_threshold()
look_for_garbage_seldom()
assert gc.isenabled()
assert gc.get_freeze_count() > 0
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


def test_a_process_that_seldom_looks_still_finds_garbage():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
