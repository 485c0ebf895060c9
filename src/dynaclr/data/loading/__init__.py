"""Datasets, loaders and the data module.

Read `datamodule` first.
"""
