"""What the page shows first: the findings, in the words and numbers of the command line, and the groups behind them."""

import dataclasses

from support.explored import Page, with_child

from clipjax.analysis import findings, groups, rates
from clipjax.analysis.run import read_run
from clipjax.analysis.sentences import p_value
from clipjax.explore import form
from clipjax.explore.opened import open_run


def test_the_findings_of_a_run_come_first_and_choose_what_is_shown(study):
    """The drawings as one table, so that there is something to find."""
    run = study.probe("rates", f"--config.data.csv={study.root / 'all.csv'}")
    page = Page(open_run(read_run(run)))
    told = page.ask("start")
    view = page.ask("rates", design=told["design"])
    every = read_run(run).findings
    wanted = findings.main(every)
    stated = [f for f in wanted if f.kind == "disparity"]
    assert [f["statement"] for f in view["findings"]] == [f.statement for f in stated] != []
    rest = findings.left_out(every, wanted, "the other questions and groupings")
    assert view["silent"] == [*(f.statement for f in wanted if f.kind != "disparity"), *rest]
    assert {view["question"][0]: view["question"][1]} == stated[0].what
    assert view["grouping"] == list(stated[0].group)
    assert view["lead"] == "mine: 6 classes, 290 images."
    assert view["next"].startswith("What next: change, add or remove a class")
    child = with_child(told["design"])
    view = page.ask("rates", design=child)
    assert view["lead"].startswith("A is mine, B is mine+child; of the same 290 images ")
    assert f"{view['moved']} got another class." in view["lead"]
    assert view["next"].startswith("What next: look at the images that moved")
    assert view["findings"][0]["statement"].startswith("Under A, ")
    assert view["question"] == view["findings"][0]["question"]
    assert {r["p"] for f in view["findings"] for r in [{"p": "adjusted p " in f["statement"]}]} == {True}
    asked = page.ask("rates", design=child, question=["set", "job"], grouping=["gender"])  # a wish is a wish
    assert (asked["question"], asked["grouping"]) == (["set", "job"], ["gender"])
    assert asked["findings"] == view["findings"]


def test_no_image_is_suggested_where_none_moved(page, mine):
    """The same classes in another order give every image the same class."""
    view = page.ask("rates", design=mine | {"classes": mine["classes"][::-1]})
    assert (view["moved"], view["next"]) == (0, "What next: save the design as YAML or the history as a report.")


def test_several_columns_at_once(page, mine):
    view = page.ask("rates", design=with_child(mine), question=["set", "job"], grouping=["each"])
    alone = [
        page.ask("rates", design=with_child(mine), question=["set", "job"], grouping=[name])["rows"]
        for name in ("age", "skin_tone", "gender")
    ]
    assert view["rows"] == [alone[0][0], *(row for rows in alone for row in rows[1:])]
    table = page.ask("table", design=with_child(mine), question=["set", "job"], grouping=["each"])["text"]
    assert table.splitlines()[0].startswith("age,skin_tone,gender,n,")
    assert table.splitlines()[1].startswith("everybody,,,58,")
    assert page.ask("figure", design=mine, grouping=["each"], format="svg").startswith(b"<?xml")


def test_single_classes_are_adjusted_over_all_classes(page, mine):
    child = with_child(mine)
    view = page.ask("rates", design=child, question=["class", "elf"], grouping=["gender"])
    answers = page.explorer.answers
    found = answers.between(answers.ask(form.read(mine)), answers.ask(form.read(child))).classes
    assert [r["paired"] for r in view["rows"]] == [
        r.to_dict() for r in found if r.question == ("class", "elf") and set(r.group) <= {"gender"}
    ]
    assert view["rows"][0]["paired"]["asked"] == len(found)
    crossed = page.ask("rates", design=child, question=["class", "elf"], grouping=["age", "gender"])["rows"][1:]
    assert all("p" in r["paired"] and "p_benjamini_hochberg" not in r["paired"] for r in crossed)
    nobody = child | {"classes": [*child["classes"], {"name": "x" * 30}]}
    silent = page.ask("rates", design=nobody, baseline=nobody | {"name": "b"}, question=["class", "x" * 30])
    assert all(r["paired"]["difference"] == 0 for r in silent["rows"])  # a class of both designs that nobody gets
    new = page.ask("rates", design=child, question=["class", "child"], grouping=["gender"])
    assert all(r["paired"] is None and r["base"] is None for r in new["rows"])
    gone = page.ask("rates", design=child, question=["set", "no such"], grouping=["no such"])
    assert gone["question"] == gone["findings"][0]["question"]  # what was asked for is not there: what was found


def test_pairs_of_columns_have_the_cells_of_the_command_line(opened):
    for grouping in (("age", "gender"), ("gender", "skin_tone"), ("age",), ()):
        wanted = rates.cells(grouping, opened.columns, len(opened.unit))
        assert opened.cells(grouping).groups == wanted.groups
        assert (opened.cells(grouping).of == wanted.of).all()
    some = dataclasses.replace(opened, columns={k: v.copy() for k, v in opened.columns.items()}, _cells={})
    some.columns["age"][::3] = ""  # images without a value are in no group
    some.columns["gender"][::4] = ""
    wanted = rates.cells(("age", "gender"), some.columns, len(some.unit))
    assert some.cells(("age", "gender")).groups == wanted.groups
    assert (some.cells(("age", "gender")).of == wanted.of).all()
    assert (wanted.of == -1).any()


def test_how_far_groups_are_apart_stands_beside_chance(page, mine):
    """Each line has the numbers of the function of counts, of the run's own design and of the changed one."""
    shown = page.ask("rates", design=mine, question=["set", "job"], grouping=["skin_tone"])
    tones = [row["now"] for row in shown["rows"][1:]]
    gap = groups.group_difference([r["k"] for r in tones], [r["n"] for r in tones])
    (line,) = shown["gaps"]
    assert line.startswith(f"The groups of skin_tone are {100 * gap.value:.1f} points apart, from ")
    assert f"would show {100 * gap.expected_if_equal:.1f} points (p {p_value(gap.p)})" in line
    both = page.ask("rates", design=with_child(mine), question=["set", "job"], grouping=["skin_tone"])["gaps"]
    assert [line[:27] for line in both] == ["A: the groups of skin_tone ", "B: the groups of skin_tone "]
    each = page.ask("rates", design=mine, question=["set", "job"], grouping=["each"])["gaps"]
    assert [line.split()[3] for line in each] == ["age", "skin_tone", "gender"]
    assert page.ask("rates", design=mine, question=["set", "job"], grouping=[])["gaps"] == []


def test_the_worst_group_of_labelled_images(study):
    asked = ["--config.data.label_column=gender", "--config.classes=female,male,neutral"]
    page = Page(open_run(read_run(study.probe("zeroshot:csv", *asked, design="", groups="skin_tone"))))
    shown = page.ask("rates", design=page.ask("start")["design"], grouping=["skin_tone"])
    predictions = page.explorer.answers.opened.run.predictions
    right, tone = predictions["prediction"] == predictions["label"], predictions["skin_tone"]
    least = min(right[tone == one].mean() for one in set(tone))
    (line,) = [one for one in shown["gaps"] if one.startswith("Of the labelled images, those with skin_tone ")]
    assert f"are right least often: {100 * least:.1f}% (" in line
    labels = page.ask("rates", design=page.ask("start")["design"], grouping=["label"])["gaps"]
    assert all("labelled images" not in one for one in labels)
