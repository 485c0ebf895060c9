"""From plates to batches: patches, patch stores, intensity statistics, datasets.

Read `pixels.patch_reader` (all patches of a batch in one read) and `loading.datamodule` (what a
training gets) first.
"""

import lazy_loader

# Statistics need no torch: what is not asked for is not imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading.datamodule": ["MultiExperimentDataModule"],
        "loading.dataset": ["MultiExperimentTripletDataset"],
        "loading.resumable_loader": ["ResumableLoader"],
        "loading.observation_reader": ["ObservationReader", "at_common_size"],
        "loading.sampling_config": ["SamplingConfig"],
        "patch_store.builder": ["build_patches"],
        "patch_store.plan": ["PatchSpec"],
        "pixels.patch_geometry": ["FieldsOfView", "PatchConfig"],
        "statistics.compute": ["compute_statistics"],
        "statistics.normalization": ["NormalizationConfig", "read_statistics"],
    },
)
