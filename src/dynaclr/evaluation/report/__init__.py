"""The report: one self-contained page made from what lies in the results folder."""

from dynaclr.evaluation.report.build import write_report
from dynaclr.evaluation.report.plan import ReportPlan

__all__ = ["ReportPlan", "write_report"]
