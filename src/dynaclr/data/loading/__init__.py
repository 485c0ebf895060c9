"""Training and validation batches: dataset, loader and the data module that makes both.

Read `datamodule` first, then `dataset`.
"""
