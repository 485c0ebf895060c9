"""What rules need: where products lie, what a job depends on, and what it asks of a cluster.

Read `paths` and `plan` first: `workflow/rules/*.smk` are written in their terms.
"""
