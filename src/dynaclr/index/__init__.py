"""From tracking tables to one lineage index over many experiments.

Read `columns` (what an index holds), `tracks` (the rules for bad tables) and `multi` (how the index
of many experiments is read) first; `build` writes one experiment's index, `merge` joins them.
"""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers find them too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
