"""Sphinx configuration of the documentation site; `make docs` builds it into build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from vlm2vla_sim import __version__  # noqa: E402

project = "vlm2vla_sim"
author = "The vlm2vla_sim authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated_reference"]
exclude_patterns = ["_ext", "requirements.txt"]
default_role = "literal"  # docstrings write `name` for code

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autoclass_content = "both"  # what a constructor takes is said in its own docstring

html_theme = "furo"
html_title = f"vlm2vla_sim {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
