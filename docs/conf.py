"""How the documentation is built: Markdown pages, and a reference from the docstrings."""

import beautyspot

project = "beautyspot"
author = "The beautyspot developers"
copyright = "the beautyspot developers"
release = version = beautyspot.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["conftest.py", "_build"]
html_theme = "furo"
html_static_path = ["_static"]  # README shows these pictures by their address
html_title = f"beautyspot {release}"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # docstrings are read in consoles first: `name` is a name, and no link
