"""Data sets on disk: segments, which all ranks write while they sample, and the one file made of them.

File locks are off: they fail on some shared file systems, and no file is changed once it has its name.
"""

import os

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
