import json
import re

import pytest

from supercuts.export import html_viewer


@pytest.fixture
def opened(monkeypatch):
    pages = []
    monkeypatch.setattr(html_viewer.webbrowser, "open", pages.append)
    return pages


def payload_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="payload" type="application/json">(.*?)</script>', text).group(1))


def test_a_page_is_written_and_opened(run, saved, tmp_path, opened):
    out = tmp_path / "page.html"
    result = run("view", saved, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}: viewer of {saved}\n")
    assert opened == [out.as_uri()]
    payload = payload_of(out)
    assert (payload["name"], payload["height"], payload["width"]) == ("page", 24, 32)
    assert payload["levels"] == {"scene": 0.6, "object": 0.3, "part": 0.1}
    assert payload["image"].startswith("data:image/jpeg;base64,")


def test_an_image_is_segmented_first(run, quarters, photos, tmp_path, opened):
    out = tmp_path / "page.html"
    result = run("view", photos / "a.png", "-o", out, "--no-open", "--superpixels", 4)
    assert result.exit_code == 0
    assert (opened, quarters.asked) == ([], [4])
    assert payload_of(out)["width"] == 32


def test_without_out_the_page_is_temporary(run, saved, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(html_viewer.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    assert run("view", saved).exit_code == 0
    assert opened == [(tmp_path / "saved.html").as_uri()]
    assert payload_of(tmp_path / "saved.html")["name"] == "saved"


def test_what_cannot_be_shown_is_refused(run, saved, tmp_path, opened):
    result = run("view", saved, "--no-open")
    assert (result.exit_code, result.stderr) == (
        2, "error: --no-open without --out would make a page that nobody sees. Give --out FILE.html.\n"
    )  # fmt: skip
    result = run("view", saved, "-o", tmp_path / "page.htm")
    assert result.exit_code == 2
    assert result.stderr.endswith(f"does not end in .html. Name it {tmp_path / 'page.html'}.\n")
    result = run("view", tmp_path / "none.npz")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
    assert opened == []
