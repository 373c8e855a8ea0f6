"""Analysis of finished runs: statistics, comparisons, tables, plots and reports."""
