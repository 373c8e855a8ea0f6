"""A report of runs: one page that opens anywhere, its tables in Markdown, its curves as a picture."""

from algorithms.analysis.report.content import Content as Content
from algorithms.analysis.report.content import report_content as report_content
from algorithms.analysis.report.page import report_markdown as report_markdown
from algorithms.analysis.report.page import report_page as report_page
from algorithms.analysis.report.page import write_report as write_report

__all__ = ["Content", "report_content", "report_markdown", "report_page", "write_report"]
