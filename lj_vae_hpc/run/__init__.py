"""The folder of a run: paths, what it was made with, locks, files that appear by rename."""
