"""Patches of one experiment, written once in the order in which training reads them.

Read `reader` (what a store holds) first, then `plan` and `builder`.
"""
