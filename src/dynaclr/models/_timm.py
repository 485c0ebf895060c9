"""Import timm when it is needed, whichever build of torchvision lies beside torch."""

from functools import cache
from types import ModuleType

import torch


def import_timm() -> ModuleType:
    """Return timm, importing it on the first call.

    timm imports torchvision, and a torchvision built for CUDA does not import beside a CPU build
    of torch: its compiled operators are not loaded, and it then attaches fake kernels to
    operators that do not exist. With the operators declared the import goes through. Nothing
    here ever calls them, so that they need no kernels. The import is first tried as it is,
    because a matching torchvision declares them itself.

    Raises
    ------
    ImportError
        If timm is not installed.
    """
    try:
        import timm
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        _declare_torchvision_operators()
        import timm
    return timm


@cache
def _declare_torchvision_operators() -> torch.library.Library:
    """Declare the operators that torchvision expects; they last as long as the cached library."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
