"""What is done with a trained encoder, or before there is one: one pass over an experiment.

Read `embedding` first. Baselines without a network, supervised ceilings, pictures of cells and the
inspection of training batches read pixels the same way.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "baselines": ["embed_baselines", "fit_pixels"],
        "batch_inspection": ["audit_batches", "inspect_batches"],
        "ceiling": ["embed_ceilings", "train_ceiling"],
        "bundle": ["check_bundle", "write_bundle"],
        "embedding": ["embed"],
        "export": ["check_export", "export_encoder"],
        "thumbnails": ["write_thumbnails"],
    },
)
