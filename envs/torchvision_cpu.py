"""Lets the package index's torchvision be imported beside a CPU build of torch.

That torchvision is built for CUDA: its compiled operators do not load beside a torch without CUDA,
and its import then fails where it describes two operators that nobody declared. timm and
torchmetrics import torchvision, but use none of its operators. So the two are declared, without
an implementation, just before torchvision is imported. `envs/setup.sh` puts this file into an
environment that needs it, and into no other.
"""

import sys

_kept = []


def _declare_operators():
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # The declarations live as long as the library object.
    _kept.append(library)


class _BeforeTorchvision:
    """Finds nothing itself; acts when torchvision is looked for the first time."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_operators()


sys.meta_path.insert(0, _BeforeTorchvision())
