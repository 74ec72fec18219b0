"""Report and comparison in a real browser: width, links, folding, print, no request outside, accessibility.

apt-get install chromium chromium-driver && pip install selenium && pytest -m browser. Accessibility is checked where
CLIPJAX_AXE names axe-core's axe.min.js (npm install axe-core); it is not part of this repository.
"""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import drawings, planted_runs
from support.chromium import BROWSER, DRIVER, chromium

from clipjax import design
from clipjax.cli.main import main

pytestmark = pytest.mark.browser

if BROWSER is None or DRIVER is None:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys  # noqa: E402

PAGES = ("report", "several", "comparison")
AXE = """const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(found => done(found.violations.map(
  v => `${v.impact} ${v.id} at ${v.nodes[0].html.slice(0, 100)}`)));"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """name -> report.html of one run, of two runs side by side, of their comparison; with 40 classes and long names."""
    root = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    names = [f"{'a class with a long name ' * (i % 3)}{i}" for i in range(40)]
    columns = {
        "age": rng.choice(np.array(["older", "child", "adult", "middle-aged 日本"], object), 400),
        "a column with a long name": np.array(["x" * 40, "y"] * 200, object),
    }
    classes = [design.DesignClass(name, sets=(f"set {i % 4}",)) for i, name in enumerate(names)]
    answers = rng.integers(0, 30, 400)
    runs = []
    for name, given in (("a", answers), ("b", np.where(columns["age"] == "child", 35, answers))):
        runs.append(
            str(planted_runs.write(root / name, design.Design(f"design-{name}", tuple(classes)), columns, given))
        )
    with drawings.drawn():
        assert main(["report", runs[0], f"--out={root / 'report'}"]) == 0
        assert main(["report", *runs, f"--out={root / 'several'}"]) == 0
        assert main(["compare", *runs, f"--out={root / 'comparison'}"]) == 0
    return {name: root / name / "report.html" for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_never_scrolls_sideways_and_asks_nobody(pages, name, width):
    with chromium(width=width) as driver:
        driver.get(pages[name].as_uri())
        inside, window = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert (inside, window) == (width, width)
        wide = driver.execute_script(
            "return [...document.querySelectorAll('.table, figure')].filter(e => e.scrollWidth > e.clientWidth + 1)"
            ".map(e => [e.tabIndex, Boolean(e.getAttribute('aria-label')), getComputedStyle(e).overflowX])"
        )
        assert all(how == [0, True, "auto"] for how in wide)  # what scrolls in its frame is reached by the keyboard
        assert width < 1280 or name != "comparison" or not wide
        loaded = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in loaded if m["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in urls)
        assert [e for e in driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_sections_and_folded_parts_open_by_keyboard(pages, name):
    with chromium() as driver:
        driver.get(pages[name].as_uri())
        links = "[...document.querySelectorAll('a')]"
        there = "document.querySelector(a.getAttribute('href'))"
        assert driver.execute_script(f"return {links}.filter(a => !{there}).length") == 0
        assert driver.execute_script(f"return {links}.length") > 5
        summary = driver.find_element("css selector", "summary")
        summary.send_keys(Keys.ENTER)
        assert driver.execute_script("return document.querySelector('details').open")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext")
def test_print_holds_every_column(pages, tmp_path):
    with chromium() as driver:
        driver.get(pages["comparison"].as_uri())
        data = driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    (tmp_path / "page.pdf").write_bytes(base64.b64decode(data))
    said = subprocess.run(["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True).stdout
    for words in ("B - A, points", "Bonferroni", "What was found", "Methods"):
        assert words in said, words
    assert "points of percent" in said  # what a figure says is text too


def test_a_report_as_pdf(pages, capsys):
    run = pages["report"].parents[1] / "a"
    assert main(["report", str(run), "--format=pdf"]) == 0
    assert "report.pdf" in capsys.readouterr().out
    data = (run / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) > 2


@pytest.mark.skipif("CLIPJAX_AXE" not in os.environ, reason="CLIPJAX_AXE does not name axe-core's axe.min.js")
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(pages, name, dark):
    with chromium(dark=dark) as driver:
        driver.get(pages[name].as_uri())
        driver.execute_script(Path(os.environ["CLIPJAX_AXE"]).read_text(encoding="utf-8"))
        assert driver.execute_async_script(AXE) == []
        driver.execute_script("document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=x>')")
        assert driver.execute_async_script(AXE) != []  # it can see
