"""Anomaly suites, scores, the best possible detector, and metrics."""
