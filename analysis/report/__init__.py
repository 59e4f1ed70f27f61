"""The report: one HTML file about searches, which needs nothing beside it."""

from analysis.report.page import write_report

__all__ = ["write_report"]
