"""Comparisons with other projects' published packages."""

import sys

# The package viscy-models exists for Python 3.12 and later alone.
collect_ignore = ["test_viscy_models.py"] if sys.version_info < (3, 12) else []
