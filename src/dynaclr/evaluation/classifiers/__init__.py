"""Linear classifiers on embeddings: fitted, scored, held against controls, published.

Read `linear` first.
"""
