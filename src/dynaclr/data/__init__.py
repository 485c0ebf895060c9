"""From plates to batches: patches, patch stores, intensity statistics, datasets.

Read `pixels.patch_reader` (all patches of a batch in one read) and `loading.datamodule` (what a
training gets) first.
"""

import lazy_loader

# Statistics need no torch: what is not asked for is not imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading.datamodule": ["MultiExperimentDataModule", "SamplingConfig"],
        "loading.dataset": ["MultiExperimentTripletDataset"],
        "loading.loaders": ["ResumableLoader"],
        "loading.observation_reader": ["CellReader", "PatchConfig", "at_common_size"],
        "patch_store.builder": ["Cut", "build_patches"],
        "statistics.compute": ["compute_statistics"],
        "statistics.lookup": ["NormalizationConfig", "read_statistics"],
    },
)
