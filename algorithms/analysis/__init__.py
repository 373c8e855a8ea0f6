"""What finished runs say: statistics, comparisons, tables, plots and reports."""
