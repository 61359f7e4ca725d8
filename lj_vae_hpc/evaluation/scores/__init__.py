"""Anomaly scores, one file each. A file that is put here is found by itself."""
