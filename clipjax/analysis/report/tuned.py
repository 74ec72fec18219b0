"""Sections of a panel whose models `clipjax finetune` made: before against after, learning curves, recipes."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from clipjax.analysis import compare, curves, figures, findings, sentences
from clipjax.analysis.panel import Panel
from clipjax.analysis.records import RIGHT
from clipjax.analysis.report import training
from clipjax.analysis.report.section import Section, slug
from clipjax.analysis.tables import Cell, Table, percent
from clipjax.analysis.training import TrainingRun
from clipjax.errors import InputError

BEFORE_AND_AFTER = "Before and after"
MOST_DRAWN = 30  # differences of one figure
MOST_STATED = 3  # findings about the changed answers of one run
LOSSES = ("fixed/loss", "validation/loss")
Trained = Mapping[str, TrainingRun]  # model of the panel -> the run that made it


def sections(found: Panel, trained: Trained) -> list[Section]:
    """What a panel has beside its own sections, where some of its models were trained here."""
    if not trained:
        return []
    begun = {name: before for name, run in trained.items() if (before := _before(found, run))}
    compared = [_before_and_after(found, begun), _changed(found, begun)] if begun else []
    return [*filter(None, compared), _what(trained), _curves(trained), _recipes(trained)]


def _before(found: Panel, run: TrainingRun) -> str:
    """The model of the panel that a training run began from, by what both say of its weights; "" for none."""
    models = [(one.model, one.run.manifest.model) for one in found.entries]
    return next((name for name, m in models if {"name": m.name, **m.source} == run.manifest["from"]), "")


def _before_and_after(found: Panel, begun: Mapping[str, str]) -> Section | None:
    """The pairs of the panel that are a trained model and what it began from."""
    rows: list[list[Cell]] = []
    drawn: dict[str, list[tuple[str, float, float, float, str, bool]]] = {}
    for one in found.pairs:
        flipped = begun.get(one.a) == one.b
        if not flipped and begun.get(one.b) != one.a:
            continue
        r = one.record
        assert r.question is not None
        assert r.difference is not None
        before, after = (f"{percent(k / r.n)} ({k}/{r.n})" for k in ((r.k_b, r.k_a) if flipped else (r.k_a, r.k_b)))
        lost, gained = (r.only_b, r.only_a) if flipped else (r.only_a, r.only_b)
        difference, low, high = (-r.difference, -r.high, -r.low) if flipped else (r.difference, r.low, r.high)
        rows.append([
            one.a if flipped else one.b, one.data_set, one.probe,
            "accuracy" if r.question == RIGHT else r.question.name, before, after,
            f"{percent(difference)} [{percent(low)}, {percent(high)}]", lost, gained,
            _p(r.p_benjamini_hochberg) if r.testable else "–", "yes" if one.distinguished else "no",
        ])  # fmt: skip
        drawn.setdefault(one.a if flipped else one.b, []).append(
            (f"{one.probe}: {r.question.name}", difference, low, high, f"{before} → {after}", not one.distinguished)
        )
    if not rows:
        return None
    columns = [
        "model", "data set", "probe", "question", "before, %", "after, %", "after - before, points", "lost", "gained",
        "p (BH)", "distinguished",
    ]  # fmt: skip
    note = (
        "Lost, gained: images that only the model before, or only the "
        f"one after, has right (or in the set). Newcombe's paired interval, each at {100 * found.level:g}% by itself; "
        "p (BH): McNemar's exact test, adjusted over all pairs of this page; – where too few answers differ to reject."
    )
    drawings = {}
    for name, differences in drawn.items():
        names, values, lows, highs, counts, hollow = zip(*differences[:MOST_DRAWN], strict=True)
        series = figures.Series("", values, lows, highs, counts, hollow)
        drawing = figures.differences_by_group(names, series, "after - before", hollow="not distinguished")
        caption = f"Which numbers of {name} differ from before? Paired intervals; hollow: not distinguished."
        if len(differences) > MOST_DRAWN:
            caption += f" The first {MOST_DRAWN} of {len(differences)} numbers of the table."
        drawings[slug(f"before_and_after_{name}")] = (drawing, caption)
    table = Table("before_and_after", "The same images before and after", columns, rows, note)
    return Section(BEFORE_AND_AFTER, [], [table], drawings)


def _changed(found: Panel, begun: Mapping[str, str]) -> Section | None:
    """How many answers changed, of everybody and by group, with what the comparison of each pair of runs states."""
    counts: dict[tuple[str, str, str], dict[str, tuple[int, int]]] = {}  # data set, probe, group -> model -> k, n
    points = []
    for name, before in begun.items():
        of = {one.column: one.run for one in found.entries if one.model == before and one.run.design is not None}
        for one in (one for one in found.entries if one.model == name and one.column in of):
            try:
                compared = compare.compare(of[one.column], one.run, ["weights"], found.level)
            except InputError:  # without a paired answer; the page says so where it compares models
                continue
            if compared.class_moves is None:
                continue
            changes = {"all images": (compared.moved, compared.images)}
            for record in compared.class_moves[1]:
                ((column, value),) = (record.group or {}).items()
                changes[sentences.value_of(column, value)] = (record.k or 0, record.n)
            for group, change in changes.items():
                counts.setdefault((one.data_set, one.probe, group), {})[name] = change
            stated = [f for f in compared.findings if f.kind in findings.STATED and f.group]
            said = [f.statement for f in findings.main(stated, MOST_STATED)]
            points += [(f"{name}, {one.probe} on {one.data_set}: {words}", "") for words in said]
    if not counts:
        return None
    rows = [[*about, *(_share(of.get(name)) for name in begun)] for about, of in counts.items()]
    data: list[list[Cell]] = [["data set", "probe", "group", "model", "changed", "images"]]
    data += [[*about, name, k, n] for about, of in counts.items() for name, (k, n) in of.items()]
    columns = ["data set", "probe", "group", *(f"{name}, %" for name in begun)]
    table = Table("changed_answers", "Answers that changed by fine-tuning", columns, rows, data=data)
    words = [
        "An answer that changed is not an error: accuracy, where there are labels, is above. p-values of the sentences "
        "are adjusted over the tests of each pair of runs; clipjax compare has their figures and tables."
    ]
    lead = "A is the model before, B the one after fine-tuning." if points else ""
    return Section("Whose answers changed", words, [table], points=points, lead=lead)


def _share(change: tuple[int, int] | None) -> str:
    return "–" if change is None else f"{percent(change[0] / max(change[1], 1))} ({change[0]}/{change[1]})"


def _what(trained: Trained) -> Section:
    rows: list[list[Cell]] = []
    for name, run in trained.items():
        manifest, config = run.manifest, run.config
        losses = [f"{run.curve(x)[0][1]:.4f} to {run.curve(x)[-1][1]:.4f}" if run.curve(x) else "–" for x in LOSSES]
        rows.append([
            name, manifest["from"]["name"], f"{manifest['data']['name']}, {manifest['data']['pairs']} pairs",
            f"{run.steps} x {config['batch_size']}", f"{manifest['counts']['epochs']:g}", config["tune"],
            f"{manifest['counts']['trained_parameters']:,} of {manifest['counts']['parameters']:,}",
            _seconds(run), *losses,
        ])  # fmt: skip
    columns = [
        "model", "from", "data", "steps x batch", "epochs", "tune", "trained parameters", "seconds per step", *LOSSES,
    ]  # fmt: skip
    note = "Seconds per step: the median after the first logged step, which holds the compilation."
    points = [(f"{name}: {said}", "") for name, run in trained.items() for said in training.notes(run)]
    table = Table("trained", "What was trained", columns, rows, note)
    return Section("What was trained", [], [table], points=points)


def _seconds(run: TrainingRun) -> str:
    after_first = [rate for _, rate in run.curve("images_per_second")][1:]
    return f"{run.config['batch_size'] / median(after_first):.3g}" if after_first else "–"


def _curves(trained: Trained) -> Section:
    drawings = {}
    for loss, what in zip(LOSSES, ("a fixed batch of training pairs", "the validation pairs"), strict=True):
        series = [curves.Curve(name, run.curve(loss)) for name, run in trained.items() if run.curve(loss)]
        if series:
            drawings[loss.replace("/", "_")] = (
                curves.over_steps(series, "loss"), f"How does the loss of {what} change in each training?"
            )  # fmt: skip
    return Section("Learning curves", ["clipjax report RUN has every curve of one training."], drawings=drawings)


def _recipes(trained: Trained) -> Section:
    recipes = {name: training.recipe(run) for name, run in trained.items()}
    keys = sorted({key for recipe in recipes.values() for key in recipe})
    rows = [[key, *(recipe.get(key, "") for recipe in recipes.values())] for key in keys]
    rows = [row for row in rows if any(row[1:])]
    words = [f"{name}: {said}" for name, run in trained.items() for said in training.made_with(run)]
    table = Table("recipes", "Every key of the configs", ["key", *recipes], rows, "Keys that are empty are left out.")
    differing = Table(
        "recipes_differ", "Keys in which the recipes differ", ["key", *recipes],
        [row for row in rows if len(set(row[1:])) > 1],
    )  # fmt: skip
    return Section("Recipes", words, [differing, table] if len(trained) > 1 and differing.rows else [table])


def _p(p: float | None) -> str:
    return "–" if p is None else sentences.p_value(p).removeprefix("= ")
