"""DynaCLR: from many time-lapse microscopy experiments to one embedding of cell states.

Public names are imported when they are first used, so ``import dynaclr`` takes no time and a
part can be used without the packages of the others. They are listed in ``__init__.pyi``, where
type checkers find them too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
