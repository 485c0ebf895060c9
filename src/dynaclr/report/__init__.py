"""The report: tables, figures and stores of a results folder in, one self-contained page out.

Read `build` (what the page consists of) and `plan` (what was run) first; ``page/``
holds templates, styles and scripts, and the captions of figures.
"""

from dynaclr.report.build import write_report
from dynaclr.report.plan import ReportPlan

__all__ = ["ReportPlan", "write_report"]
