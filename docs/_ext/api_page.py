"""The page of the Python interface: every public name of `supercuts`, in groups, each with a page of its own."""

import supercuts

GROUPS = {
    "Models and hierarchies": ["load", "segment", "Model", "Hierarchy", "read"],
    "Graphs, superpixels and clusters": ["Superpixels", "RegionGraph", "spectral_clusters"],
    "Images and other programs": ["read_image", "SuperCutsMaskGenerator", "SuperCutsPredictor"],
}
TOP = """Python
======

.. currentmodule:: supercuts

Each name is imported from ``supercuts``.
"""


def page() -> str:
    """Return the page in reStructuredText; names that are in no group and are not errors come last."""
    errors = [name for name in supercuts.__all__ if name.endswith("Error")]
    grouped = {name for names in GROUPS.values() for name in names} | set(errors)
    groups = GROUPS | {"More": [name for name in supercuts.__all__ if name not in grouped], "Errors": errors}
    parts = [TOP]
    for title, names in groups.items():
        public = [name for name in names if name in supercuts.__all__]
        if public:
            listed = "\n   ".join(public)
            parts.append(
                f"{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :toctree: api\n   :nosignatures:\n\n   {listed}\n"
            )
    return "\n".join(parts)
