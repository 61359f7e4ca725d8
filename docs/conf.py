"""The documentation as a site: Sphinx over the Markdown of this folder; bin/docs builds it."""

from lj_vae_hpc import __version__

project = "lj_vae_hpc"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["*.py"]
html_theme = "furo"
html_title = f"lj_vae_hpc {__version__}"
default_role = "code"  # single backquotes in docstrings
myst_heading_anchors = 3
autodoc_member_order = "bysource"
napoleon_use_rtype = False
