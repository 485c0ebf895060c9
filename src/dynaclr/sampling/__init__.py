"""Which observations make a batch, and which observation is the positive of which.

Arrays in, row numbers out: nothing here knows of images, files or training. Read `batches` (what a
batch holds, and the options) and `positives` (which pairs attract each other) first.
"""

import lazy_loader

# Offsets and positives need no torch: what is not asked for is not imported. The names are listed
# in __init__.pyi, where type checkers find them too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
