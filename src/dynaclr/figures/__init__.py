"""Figures: tables in, files out; every figure of the workflow is drawn here, and by no stage.

Read `experiment` and `evaluation` first: what a ``dynaclr figures`` command reads and draws.
`style` is what all figures share; each other module draws what its name says.
"""
