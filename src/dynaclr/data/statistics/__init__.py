"""Intensity statistics of plates, and how patches are normalized by them.

Read `compute` first; `normalization` looks the statistics of a batch up.
"""
