"""Anomaly suites, one file each. A file that is put here is found by itself.

None of them takes part in training, and nothing is tuned on them.
"""
