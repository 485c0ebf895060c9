"""Metrics as pure functions of arrays, one module a question, each with its reference.

They know nothing of models, tables or files. Read `auroc` first: how a metric takes row weights,
so that `bootstrap` computes it on many resamples at once.
"""
