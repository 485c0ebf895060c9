"""Linear classifiers on embeddings: fitted, scored, checked against controls, published.

Read `linear` (the classifier) and `scoring` (one task of an evaluation) first.
"""
