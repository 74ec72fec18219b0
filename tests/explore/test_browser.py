"""The explorer in a real browser, over the demo's run: the numbers of the command line, files, reload, hostile words.

apt-get install chromium chromium-driver && pip install selenium && pytest -m browser
"""

import csv
import json
import re
import time
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
                tests = [p_value(c["p"]), p_value(c["p_benjamini_hochberg"])]
                assert row[1:] == [rate(a), rate(b), change, str(c["only_a"]), str(c["only_b"]), *tests]
    flips = len((demo / "demo" / "comparison" / "flips.csv").read_text().splitlines()) - 1
    assert by_id(driver, "headline").text == f"{flips} of 290 images get another class than under people-roles."
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
    done = lambda d: [f for f in set(folder.iterdir()) - before if f.suffix in (".yaml", ".csv", ".svg", ".png")]  # noqa: E731
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
    with open(downloaded(driver, downloads, "rates-csv"), newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["n"] for row in table[:1]] == ["290"]
    k = next(r["k"] for r in rates_of(demo, "people-roles-child") if r["set"] == "fantasy" and not r["group"])
    assert table[0]["B: people-roles+child:person k"] == str(k)
    assert downloaded(driver, downloads, "rates-svg").read_bytes().startswith(b"<?xml")
    assert downloaded(driver, downloads, "rates-png").read_bytes().startswith(b"\x89PNG")
    line = by_id(driver, "headline").text
    answered(driver, driver.find_element(By.CSS_SELECTOR, "#shipped .chip").click)  # the run's own
    assert by_id(driver, "headline").text != line
    answered(driver, lambda: by_id(driver, "file").send_keys(str(saved)))
    assert by_id(driver, "headline").text == line
    answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
    for button in ("labels-svg", "labels-png", "curves-svg", "curves-png", "labels-csv"):
        assert downloaded(driver, downloads, button).stat().st_size > 500, button


def test_a_reload_goes_on_where_it_was(driver):
    add(driver, "child:person")
    choose(driver, "question", "person (19 classes)")
    choose(driver, "grouping", "gender")
    by_id(driver, "pin").click()
    add(driver, "teenager")
    before = [by_id(driver, name).text for name in ("headline", "detail", "table", "pinned")]
    driver.refresh()
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#results[data-answer]"))
    assert [by_id(driver, name).text for name in ("headline", "detail", "table", "pinned")] == before
    assert by_id(driver, "name").get_attribute("value") == "people-roles+child:person+teenager"
    assert by_id(driver, "count").text == "29"


def test_everything_can_be_done_with_keys(driver):
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    focus = lambda: driver.switch_to.active_element  # noqa: E731
    assert focus().text == "Skip to the results"
    seen = []
    for _ in range(20):
        focus().send_keys(Keys.TAB)
        seen.append(focus().get_attribute("id") or focus().text)
        if seen[-1] == "new-name":
            break
    assert seen[:3] == ["name", "load", "save"]
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
    for text, line in (("classes: [a, a]", "comes twice"), ("{", "while parsing"), ("\x00", "bad.yaml")):
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


def test_a_server_that_is_gone_is_told(demo):
    with chromium() as driver:
        with serving("demo/people-roles", cwd=demo, cache=demo / "cache") as (address, process):
            opened(driver, address)
        assert process.returncode == 0
        by_id(driver, "new-name").send_keys("child", Keys.ENTER)
        assert "does not answer" in error(driver)
