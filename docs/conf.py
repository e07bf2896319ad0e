"""Configuration of the documentation site: `sphinx-build -W docs build/site` builds it offline."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

from supercuts import __version__  # noqa: E402

project = "SuperCuts"
author = "The SuperCuts authors"
copyright = "The SuperCuts authors, Apache-2.0"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "generated_pages",
]
exclude_patterns = ["_ext", "_templates", "gallery/*.ipynb", "gallery/*.py"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

# pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # like on GitHub
myst_footnote_transition = False
nb_execution_mode = "force"  # the tutorial is stored without outputs
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
suppress_warnings = ["config.cache", "mystnb.unknown_mime_type"]

# reference
autosummary_generate = True
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
numpydoc_show_class_members = False
add_module_names = False
default_role = "code"  # a single backtick in docstrings

# gallery
sphinx_gallery_conf = {
    "examples_dirs": [str(DOCS.parent / "examples" / "gallery")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "abort_on_example_error": False,
    "copyfile_regex": "",
    "thumbnail_size": (400, 280),
}

# look
html_theme = "pydata_sphinx_theme"
html_title = "SuperCuts"
html_static_path = ["_static"]
html_extra_path = ["_generated_site"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {  # pages without pages below them need no navigation of their section
    page: [] for page in ("index", "getting_started", "tutorial", "model_zoo", "which_tool", "coming_from")
}


def shorten_signature(app, what, name, obj, options, signature, returns):
    """Leave array types to the text below, which has shapes and units, and name classes without their modules."""
    if signature is None:  # an attribute
        return None
    texts = []
    for text in (signature, returns):
        text = re.sub(r"~?jaxtyping\.\w+\[(?:\w+\.)*ndarray, (?:'[^']*'|\"[^\"]*\")\]", "ndarray", text or "")
        texts.append(re.sub(r"~?supercuts\.(?:\w+\.)*(\w+)", r"\1", text).replace("<factory>", "{}"))
    return texts[0], texts[1] or None


def setup(app):
    """Register what Sphinx calls while it reads docstrings."""
    app.connect("autodoc-process-signature", shorten_signature)
