"""The ranks of a run, stop requests, and data-parallel training."""
