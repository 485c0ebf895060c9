"""Metrics as functions of arrays: one module a question.

Each function names the paper or package that defines what it computes.
"""
