"""Data sets on disk: segment files written by all ranks, and one index over them.

File locks are off: they fail on some shared file systems, and no file is changed once it has its name.
"""

import os

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
