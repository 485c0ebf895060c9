"""Lets timm be imported beside a CPU build of torch.

timm cannot be imported without torchvision, and torchvision of the package index is built for CUDA:
its compiled operators do not load beside a torch without CUDA, and its import then fails where it
describes two operators that are not declared. timm and torchmetrics use none of its operators. So
the two are declared here, without an implementation. Where torch and torchvision come from one
source, with or without CUDA, nothing of this is needed or installed.
"""

from __future__ import annotations

from torch.library import Library

# Declarations live as long as this object.
_LIBRARY = Library("torchvision", "DEF")


def declare() -> None:
    """Declare the operators that torchvision describes when it is imported."""
    for name in ("nms", "qnms"):
        _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
