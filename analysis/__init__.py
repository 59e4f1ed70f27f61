"""Results in pandas: frames, statistics, tables, figures and the report.

Reads the files of search folders only; needs neither torch nor Ray.
"""
