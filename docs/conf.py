# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the documentation's site; `make docs` builds it."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "gr-neuralfec"
author = "gr-neuralfec contributors"
project_copyright = "gr-neuralfec contributors, GPL-3.0-or-later"
release = importlib.import_module("gnuradio.neuralfec").__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "reference",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_extensions"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Pages are read on a forge, too, where `apps/decode.py` and the like are paths of the repository.
# Types of parameters are prose, whose words are no names to look up.
suppress_warnings = ["myst.header", "myst.xref_missing", "ref.python"]

html_theme = "furo"
html_title = "gr-neuralfec"
html_theme_options = {"navigation_with_keys": True}
autodoc_default_options = {"members": True, "ignore-module-all": True}
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_use_rtype = False
