import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = {"generated", "gallery", "jupyter_execute"}  # folders of docs/ that building the site writes
DOCS = [page for page in (ROOT / "docs").rglob("*.md") if not WRITTEN & set(page.parts)]
PAGES = sorted([*ROOT.glob("*.md"), *DOCS, ROOT / "data" / "README.md"])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+\s+(.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    dead = []
    for link in (first or second for first, second in LINK.findall(text)):
        if re.match(r"[a-z]+:", link):  # the web is not checked: the default suite runs offline
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page):
    assert dead_links(page) == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")], ids=lambda p: p.name
)
def test_examples_of_a_page_print_the_shown_output(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


def test_dead_links_are_found(tmp_path):
    (tmp_path / "b.md").write_text("# One title\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[a](b.md) [b](b.md#one-title) [c](c.md) [d](b.md#two) [e](https://x.org) ![f](f.png)\n```\n[g](g)\n```\n"
    )
    assert dead_links(page) == ["c.md", "b.md#two", "f.png"]


PROSE = (
    "supercuts",
    "tests",
    "docs",
    "contrib",
    "benchmarks",
    "examples",
    "configs",
    "changes",
    "recipe",
    ".github",
    ".ci",
)
WITHOUT_COMMENTS = {".md", ".rst", ".html", ".ipynb"}
AWKWARD = re.compile(
    r"\b(in the mean|sooner|dear|(?:go|goes|going|went) on|of no account|people|so many|anew|one another|lest)\b", re.I
)
OPENING = re.compile(r'(?:.*  |\s*)(?:#|"""|//) ?(?:of|what|that|so many|as|which|where)\b', re.I)
COMMENT = re.compile(r"\s*(?:#|//)")


def awkward_prose(text: str, has_comments: bool = True) -> list[str]:
    """Return the lines of a file that hold an awkward word, or open a comment or a docstring awkwardly."""
    lines = re.sub(r"`[^`\n]*`", "``", text).splitlines()
    actual = [line.strip() for line in lines if AWKWARD.search(line)]
    for before, line in zip(["", *lines], lines if has_comments else [], strict=False):
        # a comment below another one continues its sentence
        if OPENING.match(line) and not (COMMENT.match(line) and COMMENT.match(before)):
            actual.append(line.strip())
    return actual


def test_prose_is_plain_english():
    paths = {*ROOT.glob("*"), *(path for name in PROSE for path in (ROOT / name).rglob("*"))} - {Path(__file__)}
    kinds = {".py", ".mjs", ".css", ".yaml", ".yml", ".toml", ".cff", *WITHOUT_COMMENTS}
    pages = [path for path in paths if path.suffix in kinds or path.parent.name == ".ci"]
    pages = [page for page in pages if not WRITTEN & set(page.parts)]
    actual = {
        page: awkward_prose(page.read_text(encoding="utf-8"), page.suffix not in WITHOUT_COMMENTS) for page in pages
    }
    assert len(actual) > 300
    assert {str(page.relative_to(ROOT)): lines for page, lines in actual.items() if lines} == {}


def test_awkward_prose_is_found():
    text = '"""Of a kind."""\nx = 1  # which counts\n# one\n# as it is\nIt GOES ON.\n`anew`\n"so many"\n\n  // That\n'
    words = ["It GOES ON.", '"so many"']
    assert awkward_prose(text) == [*words, '"""Of a kind."""', "x = 1  # which counts", "// That"]
    assert awkward_prose(text, has_comments=False) == words
