"""Data: patches from plates, intensity statistics, datasets and the data module."""

import lazy_loader

# Statistics need no torch: what is not asked for is not imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["CellReader", "PatchConfig", "at_common_size"],
        "datamodule": [
            "MultiExperimentDataModule",
            "SamplingConfig",
        ],
        "dataset": ["MultiExperimentTripletDataset"],
        "loading": ["ResumableLoader"],
        "lookup": ["NormalizationConfig", "read_statistics"],
        "statistics": ["compute_statistics"],
        "storing": ["Cut", "build_patches"],
    },
)
