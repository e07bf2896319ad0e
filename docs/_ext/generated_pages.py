"""Sphinx extension: write the pages, pictures and the live viewer that are derived from the code before each build.

They go to docs/generated/, which is not committed: the command line's options, the configuration keys, pages of the
repository that lie outside docs/, a picture of a small tree, and the viewer of examples/photo.jpg.
"""

import os
import re
from pathlib import Path

import api_page
import command_pages
import configuration_page
import tree_picture
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
GENERATED = DOCS / "generated"
REPOSITORY_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "changes/README.md": "changes.md",
    "data/README.md": "data.md",
    "examples/README.md": "examples.md",
    "supercuts/weights/compact.md": "compact.md",
}
CATEGORIES = ("added", "changed", "deprecated", "removed", "fixed")
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def generate(app: Sphinx) -> None:
    """Write everything that the pages in docs/ refer to; unchanged files keep their time, so Sphinx skips them."""
    write(GENERATED / "api.rst", api_page.page())
    write(GENERATED / "commands.md", command_pages.page())
    write(GENERATED / "configuration.md", configuration_page.page())
    for source, name in REPOSITORY_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source == "CHANGELOG.md":
            text += unreleased()
        write(GENERATED / name, relink(text, (ROOT / source).parent, GENERATED))
    tree_picture.draw(GENERATED / "tree.svg")
    page = DOCS / "_generated_site" / "live" / "photo.html"
    if not page.exists():  # the slowest step
        write_viewer(page)


def unreleased() -> str:
    """Return the section that the files in changes/ add up to."""
    section = "\n## Unreleased\n"
    for category in CATEGORIES:
        texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "changes").glob(f"*.{category}.md"))]
        bullets = ("- " + text.strip().replace("\n", "\n  ") for text in texts)
        section += f"\n### {category.capitalize()}\n\n" + "\n".join(bullets) + "\n" if texts else ""
    return section


def write(path: Path, text: str) -> None:
    """Write the text unless the file already holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_viewer(path: Path) -> None:
    """Segment the example photograph and write its viewer."""
    import supercuts

    path.parent.mkdir(parents=True, exist_ok=True)
    supercuts.load("compact").segment(ROOT / "examples" / "photo.jpg").export(path, "html")


def relink(text: str, old_folder: Path, new_folder: Path) -> str:
    """Return the text with links that lead to the same files from another folder, and to generated copies."""

    def replaced(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        target = Path(os.path.normpath(old_folder / link))
        if ":" in link or not target.exists():
            return match.group()
        name = target.relative_to(ROOT).as_posix()
        if name in REPOSITORY_PAGES:
            target = GENERATED / REPOSITORY_PAGES[name]
        if name == "README.md":
            target = DOCS / "index.md"
        return before + Path(os.path.relpath(target, new_folder)).as_posix() + after

    return LINK.sub(replaced, text)


def relink_page(app: Sphinx, docname: str, content: list[str]) -> None:
    """Lead links from pages in docs/ to pages of the repository to their copies on the site."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md" and GENERATED not in path.parents:
        content[0] = relink(content[0], path.parent, path.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    generate(app)  # before Sphinx looks for source files
    app.connect("source-read", relink_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
