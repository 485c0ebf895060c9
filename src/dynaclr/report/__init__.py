"""The report: one self-contained page made from what lies in the results folder."""

from dynaclr.report.build import write_report
from dynaclr.report.plan import ReportPlan

__all__ = ["ReportPlan", "write_report"]
