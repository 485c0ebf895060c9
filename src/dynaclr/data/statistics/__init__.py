"""Intensity statistics of plates, and how patches are normalized by them.

Read `compute` first; `lookup` gives a batch its statistics.
"""
