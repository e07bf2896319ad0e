"""Time the viewer's start and its frames in headless Chromium, with software rendering.

In   a photo, scaled to 2 and 12 megapixels and segmented into 2,000 superpixels
Out  seconds until a page shows its first frame; milliseconds between frames, and of work in a frame, while the slider
     is dragged and the image moved; page size
Not  no assertion (tests/export/test_html_viewer_page.py has one)

    python benchmarks/viewer.py
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, run_facts
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import supercuts
from supercuts.export import html_viewer
from supercuts.hierarchy.tree import Hierarchy

N_PIXELS, MOST_PIXELS, N_LEAVES = 2_000_000, 12_000_000, 2000
N_OPENED = 5
MOVES = 200
RECORD = """() => {
    window.times = { work: [], between: [] };
    const { work, between } = times, draw = supercuts.drawFrame.bind(supercuts);
    supercuts.drawFrame = () => {
        const start = performance.now();
        draw();
        work.push(performance.now() - start);
    };
    let last = null;
    const tick = (now) => {
        if (last !== null) between.push(now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=Path(__file__).parents[1] / "examples" / "photo.jpg")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser's program")
    arguments = parser.parse_args()
    h, largest = (hierarchy(arguments.image, n_pixels) for n_pixels in (N_PIXELS, MOST_PIXELS))
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "page.html")
        html_viewer.write_html(path, h)
        html_viewer.write_html(Path(folder, "largest.html"), largest)
        without = len(html_viewer.page(Hierarchy(h.labels, h.parents, h.altitudes, h.embeddings)))
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        opened = [[f"{opening(browser, name):.2f}" for name in (path, Path(folder, "largest.html"))]]
        for width, height in ((1280, 800), (1920, 1080)):
            for fill in ("none", "mean"):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(path.as_uri())
                page.wait_for_timeout(2000)
                page.select_option("#fill", fill)
                for control, selector in (("slider", "#granularity"), ("image", "#overlay")):
                    rows.append([f"{width}x{height}", fill, control, *drag(page, selector)])
        browser.close()
    print(markdown_facts(run_facts()))
    print(f"\n{h!r}; page without its picture: {without / 1e6:.2f} MB\n")
    sizes = [f"{h.shape[0] * h.shape[1] / 1e6:.0f} megapixels" for h in (h, largest)]
    print(f"Seconds until the first frame, median of {N_OPENED}:\n\n{markdown_table(sizes, opened)}\n")
    columns = ["window", "fill", "dragged", "frames", "between: median ms", "worst", "work: median ms", "worst"]
    print(markdown_table(columns, rows))


def opening(browser: Browser, path: Path) -> float:
    """Return the median of the seconds until a page has drawn."""
    times = []
    for _ in range(N_OPENED):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        start = time.perf_counter()
        page.goto(path.as_uri())
        while not page.evaluate("Boolean(window.supercuts?.labelled)"):
            time.sleep(0.005)
        times.append(time.perf_counter() - start)
        page.close()
    return statistics.median(times)


def hierarchy(image: Path, n_pixels: int) -> Hierarchy:
    """Segment the photo, scaled to a number of pixels."""
    with Image.open(image) as photo:
        scale = np.sqrt(n_pixels / (photo.width * photo.height))
        large = photo.convert("RGB").resize((round(photo.width * scale), round(photo.height * scale)))
    return supercuts.load("compact").segment(large, superpixels=N_LEAVES)


def drag(page: Page, selector: str) -> list[str]:
    """Return the number of frames, and median and worst of the milliseconds between them and of their work."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, y)
    page.mouse.down()
    page.evaluate(RECORD)
    page.mouse.move(box["x"] + box["width"] - 8, y, steps=MOVES)
    between, work = (page.evaluate(f"times.{name}") for name in ("between", "work"))
    page.mouse.up()
    page.click("#zoom-fit")
    times = [f"{value:.1f}" for values in (between, work) for value in (np.median(values), max(values))]
    return [str(len(work)), *times]


if __name__ == "__main__":
    main()
