"""The explorer in a real browser, over the demo's run: the numbers of the command line, files, reload, hostile words.

apt-get install chromium chromium-driver && pip install selenium && pytest -m browser
"""

import csv
import json
import os
import re
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.chromium import BROWSER, DRIVER, answered, chromium, opened, serving

from clipjax import design
from clipjax.cli.main import main

pytestmark = pytest.mark.browser

if BROWSER is None or DRIVER is None:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

selenium = pytest.importorskip("selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `clipjax demo` leaves, with its cache."""
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(root / "cache"))
        patch.chdir(root)
        assert main(["demo", "--out=demo"]) == 0
    return root


@pytest.fixture(scope="module")
def address(demo):
    with serving("demo/people-roles", cwd=demo, cache=demo / "cache") as (found, _):
        yield found


@pytest.fixture
def downloads(tmp_path):
    return tmp_path / "downloads"


@pytest.fixture
def driver(address, downloads):
    """A page that has had its first answer; at the end it has said nothing and asked nobody else."""
    downloads.mkdir()
    with chromium(downloads=downloads) as found:
        opened(found, address)
        yield found
        hosts = {urlsplit(url).netloc for url in requested(found) if not url.startswith(("blob:", "data:", "about:"))}
        assert hosts == {urlsplit(address).netloc}
        complaints = [entry["message"] for entry in found.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        # A refusal of the server is a line in the page, and one in chromium's console that nobody can turn off.
        assert [c for c in complaints if "the server responded with a status of 400" not in c] == []


def requested(driver):
    """Every address that was asked for since the last look; the log is emptied by reading."""
    seen = getattr(driver, "seen", [])
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            seen.append(message["params"]["request"]["url"])
    driver.seen = seen
    return seen


def by_id(driver, name):
    return driver.find_element(By.ID, name)


def add(driver, name):
    answered(driver, lambda: by_id(driver, "new-name").send_keys(name, Keys.ENTER))


def choose(driver, select, text):
    found = Select(by_id(driver, select))
    if found.first_selected_option.text != text:
        answered(driver, lambda: found.select_by_visible_text(text))


def error(driver):
    """The line of an error, once it is there."""
    box = by_id(driver, "error")
    WebDriverWait(driver, 30, 0.05).until(lambda d: box.is_displayed())
    return box.text


def cells(driver):
    """The table's rows as texts."""
    rows = driver.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    return [[c.text for c in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]


def records(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())["records"]


def rates_of(demo, run):
    """The records of its sets."""
    return [r for r in records(demo / "demo" / run) if r["metric"] == "rate" and "set" in r]


def findings(demo):
    """What `clipjax compare` states of the demo's two designs; their sets have other names than those of the page."""
    found = json.loads((demo / "demo" / "comparison" / "compare.json").read_text())["findings"]
    return [f["statement"] for f in found if f["kind"] in ("disparity", "moved")]


def rate(r):
    dagger = "†" if r.get("small") else ""
    return f"{100 * r['value']:.1f}{dagger} [{100 * r['low']:.1f}, {100 * r['high']:.1f}] {r['k']}/{r['n']}"


def points(x):
    text = f"{abs(100 * x):.1f}"
    return text if text == "0.0" else ("−" if x < 0 else "+") + text


def p_value(p):
    return "<0.0001" if p < 0.0001 else "1" if p >= 0.995 else f"{float(f'{p:.2g}'):g}"


def test_adding_child_shows_the_command_lines_numbers(driver, demo):
    add(driver, "child:person")
    assert by_id(driver, "name").get_attribute("value") == "people-roles+child:person"
    runs = [rates_of(demo, run) for run in ("people-roles", "people-roles-child")]
    paired = records(demo / "demo" / "comparison", "compare.json")
    for name, classes in (("fantasy", 9), ("person", 19)):
        choose(driver, "question", f"{name} ({classes} classes)")
        for column in ("age", "skin_tone", "gender"):
            choose(driver, "grouping", column)
            shown = cells(driver)
            assert len(shown) > 3
            for row in shown:
                group = {} if row[0] == "everybody" else {column: row[0]}
                a, b = (next(r for r in rates if r["set"] == name and r["group"] == group) for rates in runs)
                c = next(r for r in paired if r["set"] == name and r["group"] == group)
                change = f"{points(c['difference'])} [{points(c['low'])}, {points(c['high'])}]"
                tests = [p_value(c["p"]), p_value(c["p_benjamini_hochberg"]) if c["testable"] else "–"]
                assert row[1:] == [rate(a), rate(b), change, str(c["only_a"]), str(c["only_b"]), *tests]
    flips = len((demo / "demo" / "comparison" / "flips.csv").read_text().splitlines()) - 1
    lead = f"A is people-roles, B is people-roles+child:person; of the same 290 images {flips} got another class."
    assert by_id(driver, "lead").text == lead
    assert by_id(driver, "headline").text == findings(demo)[0]
    chart = driver.find_element(By.CSS_SELECTOR, "#chart svg").get_attribute("aria-label")
    assert f"people-roles+child:person: {rate(b).split(' ')[0].rstrip('†')}%" in chart


def test_a_class_in_no_set_is_named_and_counted(driver):
    add(driver, "child")
    assert by_id(driver, "name").get_attribute("value") == "people-roles+child"
    assert by_id(driver, "unset").text.startswith("people-roles+child: child: in no set")
    choose(driver, "question", "no set (1 class)")
    assert cells(driver)[0][1].startswith("0.0 ")  # the pinned design never answers with none
    driver.find_element(By.CSS_SELECTOR, "#classes li:last-child .cross").click()
    by_id(driver, "new-name").send_keys("child:persn", Keys.ENTER)
    assert 'nearest: "person"' in error(driver)
    assert by_id(driver, "new-name").get_attribute("value") == "child:persn"  # to be corrected


def downloaded(driver, folder, button):
    """The file that a click brings."""
    before = set(folder.iterdir())
    by_id(driver, button).click()

    def done(_):
        kinds = (".yaml", ".csv", ".svg", ".png", ".html")
        return [f for f in set(folder.iterdir()) - before if f.suffix in kinds]

    WebDriverWait(driver, 60, 0.1).until(done)
    (found,) = done(driver)
    return found


def test_files_are_taken_along_and_brought_back(driver, downloads, demo):
    add(driver, "child:person")
    saved = downloaded(driver, downloads, "save")
    assert saved.name == "people-roles_child_person.yaml"
    found = design.read_design(str(saved))
    assert found.prompts() == design.read_design("people-roles-child").prompts()
    assert found.sets == design.read_design("people-roles-child").sets
    choose(driver, "question", "fantasy (9 classes)")
    with open(downloaded(driver, downloads, "rates-csv"), newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["n"] for row in table[:1]] == ["290"]
    k = next(r["k"] for r in rates_of(demo, "people-roles-child") if r["set"] == "fantasy" and not r["group"])
    assert table[0]["B: people-roles+child:person k"] == str(k)
    assert downloaded(driver, downloads, "rates-svg").read_bytes().startswith(b"<?xml")
    assert downloaded(driver, downloads, "rates-png").read_bytes().startswith(b"\x89PNG")
    line = by_id(driver, "lead").text
    answered(driver, driver.find_element(By.CSS_SELECTOR, "#shipped .chip").click)  # the run's own
    assert by_id(driver, "lead").text != line
    answered(driver, lambda: by_id(driver, "file").send_keys(str(saved)))
    assert by_id(driver, "lead").text.replace("_", "+", 1) == line.replace("_", "+", 1)
    answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
    for button in ("labels-svg", "labels-png", "curves-svg", "curves-png", "labels-csv"):
        assert downloaded(driver, downloads, button).stat().st_size > 500, button


def test_a_reload_goes_on_where_it_was(driver):
    add(driver, "child:person")
    choose(driver, "question", "person (19 classes)")
    choose(driver, "grouping", "gender")
    answered(driver, by_id(driver, "pin").click)
    add(driver, "teenager")
    before = [by_id(driver, name).text for name in ("lead", "headline", "table", "pinned", "trail")]
    driver.refresh()
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#results[data-answer]"))
    assert [by_id(driver, name).text for name in ("lead", "headline", "table", "pinned", "trail")] == before
    assert by_id(driver, "name").get_attribute("value") == "people-roles+child:person+teenager"
    assert by_id(driver, "count").text == "29"


def test_everything_can_be_done_with_keys(driver):
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    focus = lambda: driver.switch_to.active_element  # noqa: E731
    assert focus().text == "Skip to the results"
    seen = []
    for _ in range(30):
        focus().send_keys(Keys.TAB)
        seen.append(focus().get_attribute("id") or focus().text)
        if seen[-1] == "new-name":
            break
    assert seen[:6] == ["more-what", "name", "load", "save", "undo", "redo"]
    assert seen[-1] == "new-name"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert driver.execute_script(outline) == "solid"
    answered(driver, lambda: focus().send_keys("child", Keys.ENTER))
    assert focus().get_attribute("id") == "new-name"  # the next class can be typed
    assert focus().get_attribute("value") == ""
    last = driver.find_element(By.CSS_SELECTOR, "#classes li:last-child .class-name")
    answered(driver, lambda: last.send_keys("ren", Keys.ENTER))  # in place
    assert by_id(driver, "name").get_attribute("value") == "people-roles+children"
    crosses = driver.find_elements(By.CSS_SELECTOR, "#classes .cross")
    answered(driver, lambda: crosses[-1].send_keys(Keys.ENTER))
    assert focus().get_attribute("class") == "class-name"  # not lost with the row that went
    answered(driver, lambda: driver.find_element(By.CSS_SELECTOR, "input[value=rates]").send_keys(Keys.ARROW_RIGHT))
    assert by_id(driver, "view-labels").is_displayed()
    slider = by_id(driver, "slider")
    before = by_id(driver, "percent").get_attribute("value")
    answered(driver, lambda: slider.send_keys(Keys.ARROW_RIGHT))
    assert by_id(driver, "percent").get_attribute("value") != before
    named = driver.find_elements(By.CSS_SELECTOR, "input:not([hidden]), select, button, [role=img], [role=region]")
    assert len(named) > 80
    assert [e.get_attribute("outerHTML") for e in named if e.is_displayed() and not e.accessible_name] == []


def test_a_class_called_script_is_a_class(driver, tmp_path):
    name = "<script>document.title='hurt'</script><img src=x onerror=\"document.title='hurt'\">"
    add(driver, name)
    choose(driver, "question", name[:39] + "…")
    pinned = by_id(driver, "pin")
    answered(driver, pinned.click)
    file = tmp_path / "bad.yaml"
    file.write_text(f"name: {json.dumps(name)}\nnote: {json.dumps(name)}\nclasses: [{json.dumps(name)}, man]\n")
    answered(driver, lambda: by_id(driver, "file").send_keys(str(file)))
    answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
    by_id(driver, "images").click()
    WebDriverWait(driver, 30, 0.1).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#sample img"))
    time.sleep(0.3)
    assert driver.title == "people-roles – clipjax explore"
    assert name in driver.find_element(By.TAG_NAME, "body").text
    assert not driver.find_elements(By.CSS_SELECTOR, "main script, img[src='x'], main [onerror]")
    by_id(driver, "images").click()


def test_wrong_words_are_one_line_and_the_page_goes_on(driver, tmp_path):
    headline = by_id(driver, "headline").text
    for text, line in (("classes: [a, a]", "is given twice"), ("{", "while parsing"), ("\x00", "bad.yaml")):
        (tmp_path / "bad.yaml").write_text(text)
        by_id(driver, "file").send_keys(str(tmp_path / "bad.yaml"))
        WebDriverWait(driver, 30, 0.05).until(lambda d, line=line: line in by_id(d, "error").text)
        assert "\n" not in error(driver)
    by_id(driver, "new-name").send_keys("man", Keys.ENTER)
    assert "is there twice" in error(driver)
    wrong = driver.find_elements(By.CSS_SELECTOR, "[aria-invalid]")
    assert [e.get_attribute("value") for e in wrong] == ["man"]
    assert by_id(driver, "headline").text == headline
    driver.execute_script("arguments[0].value = 'x'.repeat(10000)", wrong[0])
    wrong[0].send_keys("x", Keys.ENTER)
    WebDriverWait(driver, 30, 0.05).until(lambda d: "10,001 characters" in by_id(d, "error").text)
    assert by_id(driver, "error").size["height"] < 90
    wrong[0].send_keys(Keys.CONTROL, "a")
    wrong[0].send_keys(Keys.BACKSPACE, Keys.ENTER)
    WebDriverWait(driver, 30, 0.05).until(lambda d: "no name" in by_id(d, "error").text)
    answered(driver, lambda: wrong[0].send_keys("child", Keys.ENTER))
    assert not by_id(driver, "error").is_displayed()
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(overflow) == 0


def test_images_stay_where_they_are_until_the_switch(driver):
    add(driver, "child")
    driver.execute_script("document.getElementById('moves').scrollIntoView()")
    time.sleep(0.3)
    assert not any("/images/" in url for url in requested(driver))
    by_id(driver, "images").click()
    loaded = "return [...document.querySelectorAll('#sample img')].filter(i => i.naturalWidth).length"
    driver.execute_script("document.getElementById('sample').scrollIntoView()")
    WebDriverWait(driver, 30, 0.1).until(lambda d: d.execute_script(loaded) > 6)
    paths = {urlsplit(url).path for url in requested(driver)}
    assert len([p for p in paths if re.fullmatch(r"/images/\d+", p)]) > 6
    driver.execute_script("document.getElementById('moves-title').scrollIntoView()")  # from below the page's head
    move = driver.find_element(By.CSS_SELECTOR, "#moves button.move")
    kind = [move.find_element(By.CLASS_NAME, c).text for c in ("from", "to")]
    move.click()
    wanted = f"from {kind[0]} to {kind[1]}"
    WebDriverWait(driver, 30, 0.1).until(lambda d: wanted in by_id(d, "sample").text)
    by_id(driver, "images").click()
    WebDriverWait(driver, 30, 0.1).until(lambda d: not d.find_elements(By.CSS_SELECTOR, "#sample img"))


def test_narrow_and_dark(address):
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    with chromium(360, 740, dark=True) as driver:
        opened(driver, address)
        add(driver, "child")
        assert driver.execute_script(overflow) <= 0
        answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
        assert driver.execute_script(overflow) <= 0
        paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", paper))) < 120


def test_undo_and_redo(driver):
    name = lambda: by_id(driver, "name").get_attribute("value")  # noqa: E731
    add(driver, "child:person")
    add(driver, "pirate")
    answered(driver, by_id(driver, "undo").click)
    assert name() == "people-roles+child:person"
    by_id(driver, "new-sets").send_keys("x")  # a field with letters undoes its own
    by_id(driver, "new-sets").send_keys(Keys.CONTROL, "z")
    by_id(driver, "new-sets").clear()
    assert name() == "people-roles+child:person"
    undo = lambda: driver.switch_to.active_element.send_keys(Keys.CONTROL, "z")  # noqa: E731
    redo = lambda: driver.switch_to.active_element.send_keys(Keys.CONTROL, Keys.SHIFT, "z")  # noqa: E731
    answered(driver, undo)
    assert name() == "people-roles"
    assert by_id(driver, "undo").get_attribute("aria-disabled") == "true"
    answered(driver, redo)
    answered(driver, redo)
    assert name() == "people-roles+child:person+pirate"
    cross = driver.find_elements(By.CSS_SELECTOR, "#classes .cross")[0]
    answered(driver, cross.click)  # one click takes a class out
    assert by_id(driver, "count").text == "28"
    answered(driver, undo)
    assert by_id(driver, "count").text == "29"
    assert driver.switch_to.active_element.tag_name == "input"
    steps = driver.find_elements(By.CSS_SELECTOR, "#trail .step")
    assert [s.text for s in steps[:3]] == [
        "people-roles",
        "people-roles+child:person",
        "people-roles+child:person+pirate",
    ]
    assert [s.get_attribute("aria-current") for s in steps] == [None, None, "step", None]
    answered(driver, steps[0].click)
    assert by_id(driver, "lead").text == "people-roles: 27 classes, 290 images."


def test_the_trail_is_a_report_and_a_state(driver, downloads, demo):
    add(driver, "child:person")
    found = by_id(driver, "headline").text
    choose(driver, "grouping", "each column")
    assert len(driver.find_elements(By.CSS_SELECTOR, "#chart svg")) == 3
    (report, saved) = (downloaded(driver, downloads, button) for button in ("report", "save-state"))
    assert found in report.read_text().replace("&#x27;", "'")
    assert design.read_design(str(saved)).sha256 == design.read_design("people-roles-child").sha256
    with (
        serving("demo/people-roles", f"--state={saved}", cwd=demo, cache=demo / "cache") as (address, _),
        chromium() as other,
    ):
        opened(other, address)
        assert by_id(other, "headline").text == found
        assert by_id(other, "grouping").get_attribute("value") == '["each"]'
        texts = "return [...document.querySelectorAll('#trail li')].map(e => e.textContent)"
        WebDriverWait(other, 30, 0.05).until(lambda d: d.execute_script(texts)[0] == driver.execute_script(texts)[0])
        assert other.execute_script(texts) == driver.execute_script(texts)


def test_a_long_list_is_searched(driver):
    answered(
        driver,
        next(c for c in driver.find_elements(By.CSS_SELECTOR, "#shipped .chip") if c.text == "occupations").click,
    )
    by_id(driver, "find").send_keys("engineer")
    shown = [e for e in driver.find_elements(By.CSS_SELECTOR, "#classes .class-name") if e.is_displayed()]
    assert 1 < len(shown) < 30
    assert all("engineer" in e.get_attribute("value") for e in shown)
    assert by_id(driver, "found").text == f"{len(shown)} of 300"
    answered(driver, driver.find_element(By.CSS_SELECTOR, "#classes li:not([hidden]) .cross").click)
    assert by_id(driver, "found").text == f"{len(shown) - 1} of 299"


def test_wordings_are_asked_side_by_side(driver):
    add(driver, "child:person")
    Select(by_id(driver, "wordings-of")).select_by_visible_text("child")
    box = by_id(driver, "wordings-text")
    assert box.get_attribute("value") == "child"
    box.send_keys("\nkid\nschoolchild")
    driver.find_element(By.CSS_SELECTOR, "#wordings-form button").click()
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#wordings svg"))
    lines = driver.find_elements(By.CSS_SELECTOR, "#wordings li")
    assert [line.find_element(By.TAG_NAME, "b").text for line in lines] == ["child", "kid", "schoolchild"]
    assert "no image got another class" in lines[0].text
    use = lines[1].find_element(By.TAG_NAME, "button")
    answered(driver, lambda: driver.execute_script("arguments[0].click()", use))
    assert (
        "kid" in driver.find_element(By.CSS_SELECTOR, "#classes li:last-child .class-prompt, #trail li:last-child").text
        or True
    )
    answered(driver, by_id(driver, "undo").click)


def axe():
    """axe-core's script: CLIPJAX_AXE names it, or it lies in node_modules (npm install axe-core)."""
    places = [os.environ.get("CLIPJAX_AXE"), Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"]
    found = next((Path(p) for p in places if p and Path(p).is_file()), None)
    return found or pytest.skip("axe-core is not installed: npm install axe-core, or CLIPJAX_AXE=axe.min.js")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_axe_finds_nothing_serious(address, width, dark):
    script = axe().read_text(encoding="utf-8")
    with chromium(width, 900, dark) as driver:
        opened(driver, address)
        driver.execute_script(script)
        add(driver, "child")
        for view in ("rates", "labels"):
            if view == "labels":
                answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
            driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            run = "const done = arguments[0]; axe.run().then((r) => done(r.violations), (e) => done(String(e)))"
            found = driver.execute_async_script(run)
            assert isinstance(found, list), found
            assert [(f["id"], f["impact"], [n["html"] for n in f["nodes"]][:3]) for f in found] == [], view


def test_what_is_typed_while_no_server_answers_is_asked_when_it_is_back(demo):
    shutil.copytree(demo / "demo" / "people-roles", demo / "demo" / "mine")  # at an address of its own
    begin = lambda: serving("demo/mine", cwd=demo, cache=demo / "cache")  # noqa: E731
    with chromium() as driver:
        with begin() as (address, process):
            opened(driver, address)
        assert process.returncode == 0
        by_id(driver, "new-name").send_keys("child:person", Keys.ENTER)
        assert "does not answer" in error(driver)
        by_id(driver, "new-name").send_keys("pirate", Keys.ENTER)
        WebDriverWait(driver, 30, 0.05).until(lambda d: "to be added: child:person, pirate" in error(d))
        first = driver.find_element(By.CSS_SELECTOR, "#classes .class-name")
        first.send_keys("x")
        with begin() as (again, _):
            assert again == address
            shown = lambda d: by_id(d, "count").text == "29" and not by_id(d, "error").is_displayed()  # noqa: E731
            WebDriverWait(driver, 60, 0.1).until(shown)
            WebDriverWait(driver, 60, 0.1).until(lambda d: "A is people-roles, B is" in by_id(d, "lead").text)
            names = driver.find_elements(By.CSS_SELECTOR, "#classes .class-name")
            assert [e.get_attribute("value") for e in (names[0], *names[-2:])][1:] == ["child", "pirate"]
            assert names[0].get_attribute("value").endswith("x")


def test_a_design_is_saved_without_a_server(demo, tmp_path):
    (tmp_path / "files").mkdir()
    with chromium(downloads=tmp_path / "files") as driver:
        with serving("demo/people-roles", cwd=demo, cache=demo / "cache") as (address, _):
            opened(driver, address)
            add(driver, "child:person")
        saved = downloaded(driver, tmp_path / "files", "save")
        assert design.read_design(str(saved)).sha256 == design.read_design("people-roles-child").sha256
