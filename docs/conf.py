"""How the site is built: `make docs`. Warnings are errors, so a broken link or an undocumented name fails."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from sphinx.application import Sphinx

from antiphon import __version__

project = "antiphon"
author = "the antiphon contributors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "from_source",
    "public_names",
    "prose_links",
]
exclude_patterns = ["_ext", "README.md"]
nitpicky = True
# What isn't ours can't be linked to: the build asks nobody else. What is in single backticks is a name of ours if it
# begins with a capital or with "antiphon."; the rest (arguments, values) is code.
nitpick_ignore_regex = [
    ("py:(?!obj).*", r"(?!antiphon\b).*"),
    ("py:.*", r"antiphon\..*\.(T|Callback)|antiphon\.actors\.(io_loop|events\.Payload)\b.*"),
    ("py:obj", "Args"),
    ("py:obj", r"(?!antiphon\.)[^A-Z].*"),
]

# Docstrings are Google's in form, and name things in single backticks.
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_ivar = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
# A type that is written `object` isn't the field of that name.
suppress_warnings = ["ref.python"]

pygments_dark_style = "github-dark"
maximum_signature_line_length = 90

smartquotes = False
highlight_language = "none"

html_theme = "furo"
html_title = "antiphon"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_theme_options = {
    "sidebar_hide_name": False,
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#0b5d6b", "color-brand-content": "#0b6f80"},
    "dark_css_variables": {"color-brand-primary": "#6fd3e2", "color-brand-content": "#6fd3e2"},
}

# Pages that are read in the repository, too, link to files beside docs/.
OUTSIDE = {"](../DESIGN.md": "](/explanation/design.md"}


def setup(app: Sphinx) -> None:
    """Let links to files of the repository lead to the site's pages."""

    def redirect(app: Sphinx, docname: str, source: list[str]) -> None:
        for outside, page in OUTSIDE.items():
            source[0] = source[0].replace(outside, page)

    app.connect("source-read", redirect)
