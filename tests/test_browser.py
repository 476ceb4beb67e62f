"""The report as a browser shows it: on a desk, on a phone, in the dark and on paper, with nothing fetched.

Needs Chromium (or Chrome) on the machine: ``pytest -m browser``. No script of the page runs under its own policy, so
what can be measured only from inside is measured by a wrapper page around it.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from tasks.reports import write_report
from tasks.spectra_page import SpectraInput, write_spectra
from tests.local_server import served
from tests.report_miniature import report

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = (1400, 1000), 390
WRAPPER = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" src="/report.html" style="width:%dpx;height:%dpx;border:0"></iframe><pre id="measured"></pre>
<script>
page.onload = () => {
  const inside = page.contentDocument, root = inside.documentElement;
  const seen = (name) => inside.querySelector(name)?.getBoundingClientRect().bottom;
  const wide = [...inside.querySelectorAll("body *")].filter((one) =>
    one.getBoundingClientRect().right > root.clientWidth + 1 &&
    !one.closest(".scroll, svg, .quiet, details:not([open])"));
  measured.textContent = JSON.stringify({
    width: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight,
    wide: wide.map((one) => one.tagName + "." + one.className), verdict: seen(".verdict"), answers: seen(".cards"),
    fetched: inside.defaultView.performance.getEntriesByType("resource").map((one) => one.name),
  });
};
</script>"""


class Served(BaseHTTPRequestHandler):
    """Two pages, and a note of everything that was asked for."""

    pages: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        page = self.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page or b"")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("page") / "v7.html", report())


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """The browser's command, with a profile of its own and every host but this machine out of reach."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert program is not None, "Chromium is missing: apt-get install chromium, or leave out -m browser."
    return [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip


def opened(browser: list[str], *arguments: str) -> str:
    done = subprocess.run([*browser, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def screenshot(browser: list[str], page: Path, place: Path, size: tuple[int, int], *flags: str) -> Image.Image:
    opened(browser, *flags, f"--window-size={size[0]},{size[1]}", f"--screenshot={place}", page.as_uri())
    image = Image.open(place).convert("RGB")
    assert image.size == size
    extremes = ImageStat.Stat(image.convert("L")).extrema[0]
    assert extremes[1] - extremes[0] > 100, "a blank page"
    return image


def brightness(image: Image.Image) -> float:
    return float(ImageStat.Stat(image.convert("L")).median[0])


@pytest.fixture
def measured(browser: list[str], page: Path) -> dict[int, dict[str, Any]]:
    """What the wrapper measures of the report."""
    return measure(browser, page)


def measure(browser: list[str], page: Path) -> dict[int, dict[str, Any]]:
    """What the wrapper measures at the width of a desk and of a phone, and what was asked of the server."""
    found: dict[int, dict[str, Any]] = {}
    for width in (DESK[0], PHONE):
        asked: list[str] = []
        pages = {"/report.html": page.read_bytes(), "/": (WRAPPER % (width, DESK[1])).encode()}
        with served(Served, asked=asked, pages=pages) as address:
            dom = opened(browser, "--window-size=1600,1200", "--virtual-time-budget=10000", "--dump-dom", f"{address}/")
        said = re.search(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL)
        assert said is not None
        found[width] = {**json.loads(unescape(said[1])), "asked": asked}
    return found


def test_the_page_renders_and_its_verdict_is_there(browser: list[str], page: Path) -> None:
    dom = opened(browser, "--dump-dom", page.as_uri())
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", dom.split("</style>")[-1]))
    for words in ("Version 7: ✗ reject", "Did it forget? ✗ Yes, too much", "REGRESSIONS:", "relearn diff"):
        assert words in plain


def test_the_first_screen_holds_the_verdict_and_the_answers_and_a_phone_needs_no_sideways_scrolling(
    measured: dict[int, dict[str, Any]],
) -> None:
    assert measured[DESK[0]]["verdict"] < measured[DESK[0]]["answers"] < DESK[1]
    for width, one in measured.items():
        assert (one["width"], one["scroll"]) == (width, width), one
        assert one["wide"] == []
        assert one["height"] > DESK[1]


def test_nothing_is_asked_for_but_the_page(measured: dict[int, dict[str, Any]]) -> None:
    for one in measured.values():
        assert one["fetched"] == []
        assert set(one["asked"]) - {"/favicon.ico"} == {"/", "/report.html"}


def test_it_is_dark_where_the_reader_wants_it_dark(browser: list[str], page: Path, tmp_path: Path) -> None:
    light = screenshot(browser, page, tmp_path / "light.png", DESK, "--blink-settings=preferredColorScheme=1")
    dark = screenshot(browser, page, tmp_path / "dark.png", DESK, "--blink-settings=preferredColorScheme=0")
    assert brightness(light) > 200
    assert brightness(dark) < 60
    assert ImageChops.difference(light, dark).getbbox() is not None


def test_it_renders_at_the_size_of_a_phone(browser: list[str], page: Path, tmp_path: Path) -> None:
    screenshot(browser, page, tmp_path / "phone.png", (500, 1000))  # no window is narrower; 390 is measured above


def test_the_page_about_weights_fits_every_screen_is_dark_in_the_dark_and_fetches_nothing(
    browser: list[str], tmp_path: Path
) -> None:
    given = report()
    shown = SpectraInput(
        path="adapter", base="base", how="in float64", layers=given.spectral.layers, thresholds=given.thresholds
    )
    page = write_spectra(tmp_path / "spectra.html", shown)
    for width, one in measure(browser, page).items():
        assert (one["width"], one["scroll"], one["wide"]) == (width, width, [])
        assert set(one["asked"]) - {"/favicon.ico"} == {"/", "/report.html"}
    light = screenshot(browser, page, tmp_path / "light.png", DESK, "--blink-settings=preferredColorScheme=1")
    dark = screenshot(browser, page, tmp_path / "dark.png", DESK, "--blink-settings=preferredColorScheme=0")
    assert brightness(dark) < 60 < 200 < brightness(light)


def test_paper_shows_what_is_folded_on_the_screen(browser: list[str], page: Path, tmp_path: Path) -> None:
    import pypdfium2

    opened(browser, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", page.as_uri())
    document = pypdfium2.PdfDocument(tmp_path / "page.pdf")
    try:
        text = " ".join(document[number].get_textpage().get_text_bounded() for number in range(len(document)))
    finally:
        document.close()
    assert "reject" in text.casefold()
    assert re.search(r"30\s+business", text), "the folded diff"
    assert len(text) > 10_000
