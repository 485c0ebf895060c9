"""Intensity statistics of plates, and how patches are normalized by them.

Read `compute` first; `normalization` finds the statistics of a batch.
"""
