"""Reports and comparisons of real runs: what is written, that it is whole, escaped, the same each time, and refused."""

import contextlib
import csv
import html.parser
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support import planted_runs
from support.amount import EXHAUSTIVE, amount
from support.drawings import drawn
from support.latex import check_compiles, needs_pdflatex

from clipjax import design
from clipjax.analysis import compare, figures, report
from clipjax.analysis.report import head
from clipjax.analysis.report.section import slug
from clipjax.analysis.run import read_run
from clipjax.analysis.tables import Table, latex, percent
from clipjax.cli.main import main
from clipjax.errors import InputError

HOSTILE = [
    "<script>alert(1)</script>",
    "$x_1$ & 100%",
    'quote " and \\ slash',
    "日本 😀",
    "a|b",
    "=1+1",
    "x" * 90,
    '"a", "b"',
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two planted runs over the same 400 images: adding a class moves some of the youngest."""
    root = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(0)
    columns = {
        "race": rng.choice(np.array(["Black", "White", "Indian"], object), 400),
        "age": rng.choice(np.array(["0-2", "20-29", "more than 70"], object), 400, p=[0.3, 0.68, 0.02]),
    }
    a, b = design.read_design("fairface-default"), design.read_design("fairface-child")
    answers = rng.integers(0, 21, 400)
    moved = answers.copy()
    moved[(columns["age"] == "0-2") & (answers > 13)] = 21
    planted_runs.write(root / "a", a, columns, answers)
    planted_runs.write(root / "b", b, columns, moved)
    return root, columns, answers, moved


def answer(*words):
    """What a command prints where it succeeds."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([str(word) for word in words]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def reported(pair):
    """The report of the first run, and what was printed. Not to be changed."""
    with drawn():
        return pair[0] / "report", answer("report", pair[0] / "a", f"--out={pair[0]}/report")


@pytest.fixture(scope="module")
def compared(pair):
    """The comparison of both runs, and what was printed. Not to be changed."""
    return pair[0] / "compared", answer("compare", pair[0] / "a", pair[0] / "b", f"--out={pair[0]}/compared")


@pytest.fixture
def few(tmp_path):
    """few(name, design): a run of 40 images and one column, for what needs a report or a comparison of its own."""

    def made(name, asked="people-roles"):
        answers = np.arange(40) % 9
        column = {"race": np.array(["Black", "White"] * 20, object)}
        return planted_runs.write(tmp_path / name, design.read_design(asked), column, answers)

    return made


def test_a_report_holds_what_it_promises(reported):
    folder, shown = reported
    assert "Rates by race" in shown
    for name in ("rates_by_race", "rates_by_age_race", "disparities_by_race", "design", "paper"):
        for suffix in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{suffix}").stat().st_size > 50
    with open(folder / "tables" / "paper.csv", encoding="utf-8", newline="") as file:
        said = {row["of the published number"] for row in csv.DictReader(file)}
    assert "people aged 0-20 are taken as FairFace's 0-2, 3-9 and 10-19" in said
    for path in (folder / "figures").glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 150
        ET.parse(path.with_suffix(".svg"))
    card = (folder / "model_card.md").read_text()
    for heading in ("Intended use", "Factors", "unitary results", "intersectional results", "Ethical", "Caveats"):
        assert heading in card
    assert "No public attempt has reproduced Table 2" in card
    assert "surveillance" in card


def test_the_page_needs_nothing_and_runs_nothing(reported):
    text = (reported[0] / "report.html").read_text()

    class Links(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "link", "iframe", "object", "embed", "form")
            for key, value in attrs:
                assert not key.startswith("on")
                if key in ("src", "href"):
                    self.found.append(value)

    page = Links()
    page.feed(text)
    assert page.found
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in page.found)
    assert "default-src 'none'" in text
    assert re.search(r'alt="Rate of crime by group\. \w+: fairface-default \d', text)


def test_denominators_and_small_cells_are_shown(pair, reported):
    _, columns, answers, _ = pair
    with open(reported[0] / "tables" / "rates_by_age.csv", newline="") as file:
        rows = {row["group.age"]: row for row in csv.DictReader(file) if row["set"] == "crime"}
    old = columns["age"] == "more than 70"
    k = int(design.read_design("fairface-default").members("crime")[answers][old].sum())
    crime = rows["more than 70"]
    assert (crime["k"], crime["n"], crime["small"], crime["run"]) == (
        str(k),
        str(old.sum()),
        "true",
        "fairface-default",
    )
    assert float(crime["value"]) == k / old.sum()  # one value per cell, in full
    assert (rows["20-29"]["small"], list(rows)) == ("false", ["0-2", "20-29", "more than 70"])
    text = (reported[0] / "tables" / "rates_by_age.md").read_text()
    assert f"† [{percent(float(crime['low']))}, {percent(float(crime['high']))}] {k}/{old.sum()}" in text
    assert "† fewer images" in text


def same_bytes(one, other):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert len(files) > 40
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def test_the_same_bytes_twice(pair, reported, tmp_path):
    with drawn():
        answer("report", pair[0] / "a", f"--out={tmp_path}")
    same_bytes(reported[0], tmp_path)


def test_several_runs_side_by_side(pair, tmp_path):
    runs = [pair[0] / "a", pair[0] / "b"]
    for name in ("1", "2")[: amount(2, 1)]:
        with drawn() if EXHAUSTIVE else contextlib.nullcontext():
            answer("report", *runs, f"--out={tmp_path / name}")
    if EXHAUSTIVE:
        same_bytes(tmp_path / "1", tmp_path / "2")
    head = (tmp_path / "1" / "tables" / "rates_by_race.md").read_text()
    assert "crime (fairface-default)" in head
    assert "crime (fairface-child)" in head
    with open(tmp_path / "1" / "tables" / "rates_by_race.csv", newline="") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"fairface-default", "fairface-child"}
    with open(tmp_path / "1" / "tables" / "records.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(read_run(run).records) for run in runs)
    assert {"run", "group.race", "group.age", "k", "n", "value"} <= rows[0].keys()


def test_words_of_other_scripts_have_files_of_their_own():
    """Two sets in Japanese had one figure, under a name of underscores."""
    words = ["動物", "犯罪", "a", "a b", "a/b", "a&b", "", "x" * 80, "x" * 81]
    assert len({slug(word) for word in words}) == len(words)
    assert [slug(word) for word in ("skin tone", "0.5", "mine+child:set")] == ["skin_tone", "0_5", "mine_child_set"]


def test_hostile_class_names_are_only_names(tmp_path):
    classes = [design.DesignClass(name, sets=("odd <b>set</b>",)) for name in HOSTILE]
    asked = design.Design("<i>design</i>", tuple(classes), note="</p><script>")
    columns = {"<g>": np.array(["<img src=x onerror=1>", "b"] * 50, object)}
    path = planted_runs.write(tmp_path / "run", asked, columns, np.arange(100) % len(HOSTILE))
    with drawn():
        assert main(["report", str(path)]) == 0
    text = (path / "report.html").read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    tex = (path / "tables" / "design.tex").read_text()
    assert r"\$x\_1\$ \& 100\%" in tex
    assert r"a\textbar{}b" in tex
    assert not list(path.glob("**/*<*"))
    assert main(["report", str(path)]) == 0  # again into the same folder


def test_a_runs_own_tables_hold_hostile_names_too(tmp_path):
    asked = design.of_classes([*HOSTILE, "two\nlines"], name="odd")
    path = planted_runs.write(tmp_path / "run", asked, {"g": np.array(["a", "b"] * 50, object)}, np.arange(100) % 9)
    with open(path / "tables" / "metrics.csv", encoding="utf-8", newline="") as file:
        found = [row["class"] for row in csv.DictReader(file)]
    assert {f"'{name}" if name == "=1+1" else name for name in asked.names} == set(
        found
    )  # no formula for a spreadsheet
    lines = (path / "tables" / "metrics.md").read_text(encoding="utf-8").splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == len(found) + 2


def test_paired_comparison_against_a_recount(pair, compared):
    _, columns, answers, moved = pair
    folder, shown = compared
    changed = answers != moved
    assert f"{changed.sum()} of 400 images got another class." in shown
    records = json.loads((folder / "compare.json").read_text())["records"]
    a = design.read_design("fairface-default").members("crime")[answers]
    b = design.read_design("fairface-child").members("crime")[moved]
    for group, inside in (({}, np.ones(400, bool)), ({"age": "0-2"}, columns["age"] == "0-2")):
        r = next(r for r in records if r["group"] == group and r["set"] == "crime")
        assert (r["n"], r["k_a"], r["k_b"]) == (inside.sum(), a[inside].sum(), b[inside].sum())
        assert (r["only_a"], r["only_b"]) == ((a & ~b)[inside].sum(), (b & ~a)[inside].sum())
        assert r["p"] == pytest.approx(min(1, 2 * 0.5 ** r["only_a"]))  # all moved one way
        assert r["p_bonferroni"] == pytest.approx(min(1, r["p"] * r["tests"]))
    with open(folder / "flips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"val/{i + 1}.jpg" for i in np.flatnonzero(changed)]
    assert {row["B"] for row in rows} == {"child"}
    with open(folder / "tables" / "flips.csv", newline="") as file:
        assert sum(int(row["images"]) for row in csv.DictReader(file)) == changed.sum()
    assert (folder / "figures" / "flips.png").exists()
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (("config", "probe"), "zeroshot", "config.probe: rates and zeroshot"),
        (("model", "weights_sha256"), "b" * 64, "model.weights_sha256: aaaaaaaaaaaa… and bbbbbbbbbbbb…"),
        (("precision",), "bfloat16", "precision: float32 and bfloat16"),
        (("model", "config", "mean"), [0.1] * 3, "model.config.mean"),
    ],
)
def test_runs_that_are_not_comparable_are_refused_by_field(pair, tmp_path, capsys, field, value, says):
    shutil.copytree(pair[0] / "b", tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    node = manifest
    for part in field[:-1]:
        node = node[part]
    node[field[-1]] = value
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    refused = ["compare", str(pair[0] / "a"), str(tmp_path / "b"), f"--out={tmp_path / 'out'}"]
    assert main(refused) == 1
    assert "manifest.json is not what the run wrote" in capsys.readouterr().err
    (tmp_path / "b" / "SHA256SUMS").unlink()
    assert main(refused) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_are_compared_when_asked(few, tmp_path, capsys):
    a, b, other = (str(few(name, asked)) for name, asked in (
        ("a", "people-roles"), ("b", "people-roles-child"), ("other", "people-roles")))  # fmt: skip
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    manifest["model"] |= {"weights_sha256": "c" * 64, "name": "tuned"}
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "other" / "SHA256SUMS").unlink()
    assert main(["compare", a, other, "--vary=weights", f"--out={tmp_path / '1'}"]) == 0
    assert main(["compare", b, other, "--vary=weights", f"--out={tmp_path / '2'}"]) == 1
    assert "--vary=weights,design lets the design differ" in capsys.readouterr().err
    assert main(["compare", b, other, "--vary=design,weights", f"--out={tmp_path / '3'}"]) == 0
    assert main(["compare", a, a]) == 1
    assert "nothing to compare" in capsys.readouterr().err
    assert main(["compare", a, b, "--vary=images"]) == 1
    assert "choose design, weights" in capsys.readouterr().err


def test_folders_that_are_no_runs(pair, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for path, message in (("none", "no such run"), ("empty", "holds no finished run")):
        assert main(["report", str(tmp_path / path)]) == 1
        assert message in capsys.readouterr().err
    shutil.copytree(pair[0] / "a", tmp_path / "hurt")
    (tmp_path / "hurt" / "predictions.parquet").write_bytes(b"PAR1")
    assert main(["report", str(tmp_path / "hurt")]) == 1
    assert "run the probe again" in capsys.readouterr().err
    (tmp_path / "hurt" / "metrics.json").write_text("{")
    (tmp_path / "hurt" / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read"):
        read_run(tmp_path / "hurt")
    assert main(["report", str(pair[0] / "a"), str(pair[0] / "a")]) == 1
    assert "named twice" in capsys.readouterr().err


def test_tables_in_four_forms():
    table = Table("t", "A & B", ["name", "value"], [["a|b", 1.5], ["<x>", None], ["50%", "12.5"]], "note_1")
    assert table.csv() == "name,value\na|b,1.5\n<x>,\n50%,12.5\n"
    assert "| a\\|b | 1.5 |" in table.markdown()
    assert "| --- | ---: |" in table.markdown()
    assert r"\caption{A \& B}\label{tab:t}" in table.latex()
    assert r"\begin{tabular}{lr}" in table.latex()
    assert r"50\% & 12.5 \\" in table.latex()
    assert '<th scope="row">&lt;x&gt;</th><td class=number></td>' in table.html()
    assert '<th scope="col">name</th>' in table.html()
    assert latex("a_b{c}~^\\") == r"a\_b\{c\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert (percent(0.14438), percent(None), percent(0.5, 0)) == ("14.4", "", "50")


def test_of_two_sets_that_mirror_each_other_one_is_drawn(few):
    found = report.sections([read_run(few("a"))])
    (by_race,) = [section for section in found if section.title == "By race"]
    assert "Of person nothing is drawn: its rates are 100% less those below." in by_race.words
    assert {"rates_fantasy_by_race", "gaps_fantasy_by_race"} <= {name for section in found for name in section.drawings}
    assert not [name for section in found for name in section.drawings if "person" in name]
    assert by_race.tables[0].columns[1:] == ["person", "fantasy"]  # its numbers are there


def _overlap(drawing):
    """Texts of the figure that overlap or leave it, in pixels."""
    drawing.svg()  # laid out
    figure = drawing.figure
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    boxes = [t.get_window_extent(renderer) for t in axes.get_yticklabels() if t.get_text()]
    outside = [b for b in boxes if b.x0 < -1 or b.x1 > figure.bbox.x1 + 1 or b.y0 < -1 or b.y1 > figure.bbox.y1 + 1]
    crossing = [(a, b) for a, b in pairwise(boxes) if a.overlaps(b)]
    return outside, crossing


@pytest.mark.parametrize("groups", [1, 20, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 9, 63))])
def test_figures_fit_their_words(groups):
    names = [HOSTILE[i % len(HOSTILE)] + f" {i}" for i in range(groups)]
    series = figures.Series("s", [0.1] * groups, [0.05] * groups, [0.2] * groups, ["1/10"] * groups, [False] * groups)
    for drawing in (
        figures.rates_by_group(names, [series, series], "Rate of $x_1$"),
        figures.flows([(n, n, 3) for n in names], 100),
        *figures.heat_maps(np.full((groups, 5), 0.2), names, HOSTILE[:5], "Rate"),
        figures.mirrored_bars([("A", names, [0.1] * groups, [0.2] * groups)] * 2, ("F", "M")),
        figures.sweep_strip(names, [[0.1, 0.2]] * groups, [0.1] * groups, "Rate"),
        figures.bars([(name, "top1") for name in names], [series]),
    ):
        assert _overlap(drawing) == ([], [])
        ticks = [t for axes in drawing.figure.axes for t in (*axes.get_yticklabels(), *axes.get_xticklabels())]
        assert not any(t.get_parse_math() for t in ticks if "$" in t.get_text())
        assert "0" in drawing.alt
        ET.fromstring(drawing.svg())


def test_answers_out_of_their_own_design_are_refused(pair, tmp_path):
    shutil.copytree(pair[0] / "a", tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    manifest["design"]["classes"] = manifest["design"]["classes"][:5]
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "a" / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="is not a class of its own design"):
        compare.questions(read_run(tmp_path / "a"))


def test_cells_of_a_csv_are_values_and_no_formulas():
    rows = [["=1+1", "+x", "-3", -3.5, "-", "@a", True, None, 0.1]]
    table = Table("t", "T", list("abcdefghi"), [["1 [0, 2] 1/2"] * 9], data=[list("abcdefghi"), *rows])
    assert table.csv().splitlines()[1] == "'=1+1,'+x,\"-3\",-3.5,'-,'@a,true,,0.1"


@pytest.mark.parametrize("name", ["007", "1e5", "1/2", "3-9", "2024-01-02", "true", "NA", ".5", 'a "b"', "a,b", "a\nb"])
def test_a_text_that_reads_like_another_type_is_in_quotes(name):
    table = Table("t", "T", ["a", "b"], [], data=[["a", "b"], [name, 7], ["plain", 0.5]])
    head, *lines = table.csv().split("\n", 1)
    assert (head, lines[0]) == ("a,b", '"' + name.replace('"', '""') + '",7\nplain,0.5\n')
    assert list(csv.reader(io.StringIO(table.csv()))) == [["a", "b"], [name, "7"], ["plain", "0.5"]]


def test_findings_lead_the_page_and_the_design_is_folded(reported):
    text = (reported[0] / "report.html").read_text()
    assert "<main>" in text
    titles = re.findall(r"<h2>([^<]+)</h2>", text)
    assert (titles[0], titles[-2]) == ("What was found", "What was asked")
    assert "<details><summary>Show</summary>" in text.partition("What was asked</h2>")[2]
    assert re.search(r"We evaluated ViT-L/14 .* on 400 images of fairface", text)
    assert "What next: clipjax explore a shows" in text.partition("</section>")[0]
    assert "Intervals at 95% are Clopper and Pearson&#x27;s, Miettinen and Nurminen&#x27;s (ratios), Newcombe" in text
    assert "prefers-color-scheme: dark" in text
    assert len(re.findall("<table", text)) == len(
        re.findall('class=table role="region" aria-label="[^"]+" tabindex=0', text)
    )
    links = re.findall(r'href="#(s\d+)">table<', text)
    assert all(f'id="{link}"' in text for link in links)


def test_the_papers_caveats_are_for_its_images_only(reported, few, tmp_path):
    few("mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    manifest["data"]["name"] = "people.csv"
    (tmp_path / "mine" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "mine" / "SHA256SUMS").unlink()
    assert main(["report", str(tmp_path / "mine")]) == 0
    for name in ("report.html", "model_card.md"):
        assert "10,000 images" in (reported[0] / name).read_text()
        assert "10,000 images" not in (tmp_path / "mine" / name).read_text()


def test_methods_name_each_kind_of_interval_once():
    methods = ["newcombe", "newcombe, simultaneous over 3 pairs", "newcombe, simultaneous over 6 pairs", "wilson", None]
    run = SimpleNamespace(records=[SimpleNamespace(level=0.95, method=method) for method in methods])
    assert head._intervals(run) == [
        "Intervals at 95% are Newcombe's (differences), Wilson's.",
        "Those of the worst group and of the largest gap of a column hold for all its groups at once.",
    ]


def test_findings_of_a_comparison_are_recorded_and_lead(compared):
    folder, shown = compared
    found = json.loads((folder / "compare.json").read_text())
    moved = [f for f in found["findings"] if f["kind"] == "moved"]
    assert any(f["group"] == {"age": "0-2"} for f in moved)
    for f in moved:
        assert f["p_adjusted"] < 0.05
        assert f["low"] > 0 or f["high"] < 0
        for i in f["records"]:
            assert found["records"][i]["difference"] == f["value"]
    assert shown.startswith(f"- {moved[0]['statement']}"[:60])
    page = (folder / "report.html").read_text()
    assert re.findall(r"<h2>([^<]+)</h2>", page)[:3] == ["What was found", "Images that moved", "Methods"]
    assert "What next: flips.csv lists the images that moved; clipjax explore b changes" in page
    alt = re.findall(r'alt="(B - A of the rate of [^"]+)"', page)
    assert alt
    assert all("points" in words and "all images" in words for words in alt)


@needs_pdflatex
def test_every_table_compiles_in_two_columns(reported, compared, tmp_path):
    """No error and nothing wider than its column by 5 pt, with class names of every kind."""
    asked = design.Design("odd", tuple(design.DesignClass(name, sets=("a ∞ set",)) for name in HOSTILE))
    columns = {"g_1": np.array(["χ²", "-1 [0]"] * 50, object)}
    path = planted_runs.write(tmp_path / "odd", asked, columns, np.arange(100) % len(HOSTILE))
    with drawn():
        assert main(["report", str(path)]) == 0
    files = [p for folder in (path, compared[0], reported[0]) for p in sorted((folder / "tables").glob("*.tex"))]
    assert len(files) > 15
    check_compiles(files, tmp_path)


def test_latex_says_what_fonts_lack():
    assert latex("∞ χ² → -1.5 a-b –") == r"$\infty$ $\chi$$^2$ $\rightarrow$ $-$1.5 a-b --"
    assert latex("日[0]") == "U+65E5{[}0]"
