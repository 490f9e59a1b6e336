"""Evaluation: methods on the same draws, results that survive a kill, statistics, figures, report."""
