"""How often Python looks for garbage while a command loads what it needs, or a plan is made."""

from __future__ import annotations

import atexit
import gc

# New objects after which Python looks for garbage; its own default is 700, of later versions 2,000.
_OBJECTS = 10_000


def look_for_garbage_seldom() -> None:
    """Spare a process most of its searches for reference cycles.

    Packages and plans are a million objects that live until the process ends. Of the 6.9 seconds in
    which a command of the trainer loads and ends, 1.3 went by going over them again and again, and
    1.4 by the last time, at its end. That is left out: what a command makes is sealed by then.
    """
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
