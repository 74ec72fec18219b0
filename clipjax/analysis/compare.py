"""Two runs over the same images: what changes when the class design (or the model) changes, image by image.

Runs are comparable by what they hold: images are paired by content (`clipjax.analysis.pairing`), whatever the data set
is called and wherever it lies.

The paper compares two designs by their rates (Table 3). The images are the same, so the comparison is paired: only
images whose answer changed carry information, and McNemar's test asks whether they changed more one way.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import paired_agreement, paired_draws, rates
from clipjax.analysis.association import METHODS, adjust_testable, can_reject
from clipjax.analysis.findings import Finding, Move, of_comparison
from clipjax.analysis.manifest import Manifest
from clipjax.analysis.paired import paired_records, smallest_p
from clipjax.analysis.paired_numbers import PairedNumber, check_stimuli, paired_numbers
from clipjax.analysis.pairing import Paired, pair
from clipjax.analysis.records import RIGHT, PairedRecord, Question, Record
from clipjax.analysis.run import CAPTION_RANK, CLASSIFIERS, FEW_IMAGES, RIGHT_OF, Run, prediction_column
from clipjax.analysis.tallies import Tally, added
from clipjax.analysis.transitions import Groups, Sum, Transitions, width
from clipjax.design import NO_SET, Design
from clipjax.errors import InputError, some

VARIABLE = ("design", "weights")
CHANGES = (  # what a run may do to images and class texts: what a page says of it, the key, and one that goes with it
    ("Every image was changed ({})", "config.data.perturb"),
    ("The directions of {!r} were removed from the class texts", "config.project.prompts"),
    (
        "Class texts were projected so that {!r} coincide (strength {:g})",
        "config.project.pairs",
        "config.project.strength",
    ),
    (
        "A random subspace (seed {1}) was removed instead of those directions",
        "config.project.control",
        "config.seed",
    ),
)
# What has to be equal, by what a user may let vary: (fields of the manifest)
FIELDS: dict[str, tuple[str, ...]] = {
    "": (
        "config.probe", "precision", "result.probability", "model.config.image.image_size", "model.config.mean",
        "model.config.std", "model.config.pixels",
    ),
    "design": ("design.sha256",),
    "weights": ("model.weights_sha256", "model.logit_scale"),
}  # fmt: skip
# Where a user's Python file computed the features of a run, it alone knows how images are prepared.
CUSTOM: dict[str, tuple[str, ...]] = FIELDS | {"": ("config.probe", "result.probability")}
# The same where the answers of a run were computed elsewhere: nothing is known of parameters and preprocessing there.
INGESTED: dict[str, tuple[str, ...]] = FIELDS | {"": ("config.probe",), "weights": ("model.name",)}
SAYS = {"design.sha256": "design.name", "model.weights_sha256": "model.name"}  # what a reader knows it by
FITTED = (  # what is fitted to labelled images, and how
    "config.probe", "result.C", "result.feature", "result.train", "config.training", "config.context",
)  # fmt: skip
LEVEL = 0.95
RANKED = ("map_11pt", "map_all_point")  # the first metric of images with several labels
NUMBERS = ("association", "skew", *FEW_IMAGES)  # probes without one answer to each image
MOST_CROSSED = 20  # questions that are asked of pairs of columns too; hundreds of labels are not
MOST_VALUES = 50  # of a column that is grouped by: one of more has names or numbers
# Paired records of classes, how many answers of each group changed, and (group, class) -> the moves out and in
ClassMoves = tuple[list[PairedRecord], list[Record], Callable[[dict[str, str], str], list[Move]]]
Answers = Mapping[Question, np.ndarray]  # ("set", "crime") -> bool [N]


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Records (one per set and group), and which class images had under A and B, counted by group (None where a run has
    no one class per image). `only_a`, `only_b`: sets that only one of the designs has. `judged`: `tallies` of
    `paired_agreement.asked`; none without labels.
    """

    pairing: Paired
    records: list[PairedRecord]
    transitions: Transitions | None
    only_a: list[str]
    only_b: list[str]
    level: float = LEVEL
    judged: Sequence[Tally] = ()

    @functools.cached_property
    def numbers(self) -> list[PairedNumber]:
        """The numbers that are not shares of images: skew, associations, calibration, differences between groups."""
        return paired_numbers(self.a, self.b, self.level)

    @functools.cached_property
    def agreement(self) -> list[Record]:
        """How far the runs give the same answers and make the same errors; [] where images have no one answer."""
        moves = self.transitions
        return [] if moves is None else paired_agreement.of_counts(self.a, self.b, moves, self.judged, self.level)

    @property
    def a(self) -> Run:
        """The first run."""
        return self.pairing.a

    @property
    def b(self) -> Run:
        """The second, its rows in the first one's order."""
        return self.pairing.b

    @property
    def same(self) -> bool:
        """Whether both asked the same model the same thing, of images and texts that were changed in the same way."""
        fields = _fields(self.a, self.b)
        asked = [*FITTED, *(field for part in VARIABLE for field in fields[part])]
        return changes(self.a) == changes(self.b) and not differing(self.a.manifest, self.b.manifest, asked)

    @functools.cached_property
    def class_moves(self) -> ClassMoves | None:
        """What moved class by class; None where a run has no one class per image."""
        if self.transitions is None:
            return None
        found = self.transitions.of_columns([name for name in self.a.group_columns if name in self.b.group_columns])
        return moves_of_classes(found, shared_classes(self.a.design, self.b.design))

    @functools.cached_property
    def findings(self) -> list[Finding]:
        """What moved, for which group, and what was tested without a finding."""
        return of_comparison(self.records, *self.class_moves) if self.class_moves else of_comparison(self.records)

    @property
    def moves(self) -> list[tuple[str, str, int]]:
        """(class under A, class under B, images), the commonest first."""
        return [] if self.transitions is None else self.transitions.moves()

    @property
    def images(self) -> int:
        """How many both runs saw."""
        return self.pairing.images

    @property
    def moved(self) -> int:
        """Images that got another class."""
        return 0 if self.transitions is None else self.transitions.moved

    def flips(self) -> Iterator[list[list[str]]]:
        """The images that got another class, some after the other, each as its file, groups, and both classes."""
        columns = self.a.group_columns
        wanted = ["file", *columns, "prediction"]
        for a, b in self.pairing.blocks(lambda run: wanted if run is self.a else ["prediction"]):
            before, after = (run.predictions["prediction"] for run in (a, b))
            fields = [a.predictions["file"], *(a.predictions[name] for name in columns), before, after]
            yield [[str(values[i]) for values in fields] for i in np.flatnonzero(before != after)]


def changes(run: Run) -> list[str]:
    """What a run did to images and class texts before it asked, in sentences."""
    found = [(said, [_field(run.manifest, field) for field in fields]) for said, *fields in CHANGES]
    return [f"{said.format(*values)}." for said, values in found if values[0]]


def moves_of_classes(found: Transitions, classes: Sequence[str], level: float = LEVEL) -> ClassMoves:
    """Paired records of these classes, over everybody and single columns; how many answers of each group changed; and
    (group, class) -> the moves out of that class and into it."""
    given = {*found.names_a, *found.names_b}
    asked = [Question("class", name) for name in classes if name in given]
    groups = [one for one in found.groups if width(one) <= 1]
    records: list[PairedRecord] = []
    if asked:
        under_a, under_b = (
            np.stack([own == question.name for question in asked]) for own in (found.names_a, found.names_b)
        )
        records = records_of_tallies(asked, groups, found.tallies(under_a, under_b, 1), level, 0)
    shares = []
    for one, counts in zip(found.groups, found.counts, strict=True):
        for group, row in zip(one, counts, strict=True):
            if len(group) == 1:
                k, n = int(row[found.changed].sum()), int(row.sum())
                shares.append(Record(metric="changed", group=group, k=k, n=n, value=k / n, level=level))
    return records, shares, found.moves


def differing(a: Manifest, b: Manifest, fields: Iterable[str]) -> list[str]:
    """Fields of two manifests that are not equal, with both values."""
    out = []
    for field in fields:
        x, y = _field(a, field), _field(b, field)
        if x != y:
            known = SAYS.get(field)
            names = f" ({_field(a, known)}, {_field(b, known)})" if known else ""
            out.append(f"{field}: {_brief(x)} and {_brief(y)}{names}")
    return out


def check(a: Run, b: Run, vary: Sequence[str] = ("design",)) -> None:
    """InputError with every differing field, unless only what may vary does; and where both are one folder."""
    if unknown := [v for v in vary if v not in VARIABLE]:
        raise InputError(f"--vary={unknown[0]}: choose {', '.join(VARIABLE)}, or both with a comma")
    if a.path.resolve() == b.path.resolve():
        raise InputError(f"{a.path} is named twice; there is nothing to compare")
    fields = _fields(a, b)
    one_kind = {a.probe, b.probe} <= set(FEW_IMAGES)  # two methods over the same draws
    found = differing(a.manifest, b.manifest, [f for f in fields[""] if not (one_kind and f == "config.probe")])
    hints = ["compare runs of one probe, prepared the same way"] if found else []
    for part in VARIABLE:
        if part not in vary and (more := differing(a.manifest, b.manifest, fields[part])):
            found += more
            hints.append(f"--vary={','.join([*vary, part])} lets the {part} differ")
    if found:
        raise InputError(f"{a.path} and {b.path} are not comparable: {'; '.join(found)}. {'; '.join(hints)}")


def compare(a: Run, b: Run, vary: Sequence[str] = ("design",), level: float = LEVEL, annotations: str = "") -> Compared:
    """Every yes-or-no question that both runs answer, over everybody, each column and each pair of columns they share.

    p-values are McNemar's, exact; adjusted over all sets and groups of the comparison. `annotations`: see `pair`.
    """
    check(a, b, vary)
    pairing = pair(a, b, annotations)
    a, b = pairing.a, pairing.b
    if a.probe in FEW_IMAGES:
        paired_draws.check(a, b)
    if a.probe == "association":
        check_stimuli(a, b)
    if a.probe in NUMBERS:
        found = Compared(pairing, [], None, [], [], level)
        if not found.numbers:
            raise InputError(f"{a.path} and {b.path} share no number: other classes, columns, k, shots or tests")
        return found
    counted = _count(pairing)
    min_n = max(run.settings.min_n for run in (a, b))
    records = records_of(counted.asked, counted.tallies, level, min_n) if counted.asked else []
    only_a, only_b = counted.only
    return Compared(pairing, records, counted.transitions, only_a, only_b, level, counted.judged)


@dataclasses.dataclass(frozen=True, eq=False)
class _Counted:
    """What two runs answered, as sums over images: `tallies` [4, Q] of the questions that both were `asked`.

    `only`: the names of those that A alone was asked, and B alone. `judged`: as in `Compared`.
    """

    asked: list[Question]
    only: tuple[list[str], list[str]]
    tallies: list[Tally]
    transitions: Transitions | None
    judged: list[Tally]


def _count(pairing: Paired) -> _Counted:
    """Adds up blocks of images: beside one of each run, counts are in memory."""
    of_a, of_b = pairing.a, pairing.b
    columns = [name for name, values in of_a.values.items() if len(values) <= MOST_VALUES]
    of_both = [name for name in columns if name in of_b.group_columns]
    single, single_of_both = ([(), *((name,) for name in names)] for names in (columns, of_both))
    moves = Sum(single) if "prediction" in of_a.names and "prediction" in of_b.names else None
    tallied: list[Tally] = []
    judged: list[Tally] = []
    asked: list[Question] = []
    only: tuple[list[str], list[str]] = [], []
    both_ranked = ranked(of_a) and ranked(of_b)
    labelled = "label" in of_a.names and "label" in of_b.names
    for a, b in pairing.blocks(_answers):
        if moves is not None:
            cells = [rates.cells(grouping, a.columns, a.rows) for grouping in single]
            moves.add(Transitions.of_names(a.predictions["prediction"], b.predictions["prediction"], cells))
            if labelled:
                right_a, right_b, known = paired_agreement.asked(a, b)
                judged = _sums(judged, tallies(right_a, right_b, a.columns, single_of_both, known))
        if both_ranked:  # a single image is not right or wrong
            continue
        a, b = scored(a), scored(b)
        asked_a, asked_b = questions(a), questions(b)
        both_a, both_b = shared(asked_a, asked_b)
        if not both_a:
            names = f"{_names(asked_a)} against {_names(asked_b)}"
            raise InputError(f"{of_a.path} and {of_b.path} share no set of classes: {names}")
        asked, only = list(both_a), (_only(asked_a, both_a), _only(asked_b, both_a))
        part = tallies(both_a, both_b, a.columns, groupings(of_both, len(both_a)), annotated(a))
        tallied = _sums(tallied, part)
    return _Counted(asked, only, tallied, None if moves is None else moves.total(), judged)


def _sums(before: list[Tally], part: list[Tally]) -> list[Tally]:
    return [added(pair) for pair in zip(before, part, strict=True)] if before else part


def _answers(run: Run) -> list[str]:
    """The columns of a run's predictions that say what it answered, and about whom."""
    kept = {*run.group_columns, "label", CAPTION_RANK, *(["probabilities"] if run.probe == "labels" else [])}
    return [name for name in run.names if name in kept or name.startswith(("prediction", RIGHT_OF))]


def shared(a: Answers, b: Answers) -> tuple[Answers, Answers]:
    """The questions that both answer, in A's order.

    `no set` is answered by every design that has sets: with no, where all its classes are in one.
    """
    none = Question("set", NO_SET)
    if none in a or none in b:
        a, b = ({none: np.zeros(len(next(iter(x.values()))), bool)} | dict(x) if _by_sets(x) else x for x in (a, b))
    both = sorted((key for key in a if key in b), key=lambda key: key == none)
    return {key: a[key] for key in both}, {key: b[key] for key in both}


def shared_classes(a: Design | None, b: Design | None) -> list[str]:
    """The classes of both designs, where these are compared by sets: else the classes themselves are the questions."""
    if a is None or b is None or not a.sets or not b.sets:
        return []
    return [name for name in a.names if name in b.names]


def _by_sets(asked: Answers) -> bool:
    return any(kind == "set" for kind, _ in asked)


def groupings(columns: Sequence[str], questions: int) -> list[tuple[str, ...]]:
    """Everybody, each column, and where there are few questions each pair of columns."""
    most = 1 if questions > MOST_CROSSED else 2
    return [g for size in range(most + 1) for g in itertools.combinations(columns, size)]


def tallies(
    asked_a: Answers, asked_b: Answers, columns: rates.Columns, groupings: Sequence[tuple[str, ...]], known: Answers
) -> list[Tally]:
    """Counts [4, Q] (both, only A, only B, neither) of every question of `asked_a` and group of some images. known: the
    images that a question is about, bool [N]; all where it does not say."""
    out = []
    for grouping in groupings:
        cells = rates.cells(grouping, columns, len(next(iter(asked_a.values()))))
        found = np.stack([_tally(asked_a[key], asked_b[key], cells, known.get(key)) for key in asked_a], axis=1)
        counts = {tuple(group.values()): found[:, :, g] for g, group in enumerate(cells.groups)}
        out.append(Tally(grouping, found.shape[:2], counts))
    return out


def records_of(asked: Sequence[Question], tallied: Sequence[Tally], level: float, min_n: int) -> list[PairedRecord]:
    """`tallies` of all images -> a record per question and group: both rates, their paired difference, McNemar's test.

    One family of tests: p-values are adjusted over the `tests` of them whose discordant images are enough to reject at
    all (`testable`); where they are not, the adjusted p is 1.
    """
    counts = [one.table.transpose(1, 2, 0).reshape(4, -1) for one in tallied]
    groups = [one.groups for one in tallied]
    return records_of_tallies(asked, groups, np.concatenate(counts, axis=1), level, min_n)


def records_of_tallies(
    asked: Sequence[Question], groups: Sequence[Groups], tallies: np.ndarray, level: float, min_n: int
) -> list[PairedRecord]:
    """The same from counts [4, T]: both, only A, only B, neither, for each of `groups` and question its groups."""
    compared = paired_records(*tallies, level=level)
    heads = [(question, group) for found in groups for question in asked for group in found]
    p, counted = (
        np.array([r.p for r in compared]),
        can_reject(smallest := smallest_p([r.only_a + r.only_b for r in compared])),
    )
    bh, bonferroni = (adjust_testable(p, smallest, method).tolist() for method in METHODS)
    tests, testable = int(counted.sum()), counted.tolist()
    return [
        replace(
            record, question=question, group=group, small=record.n < min_n, p_benjamini_hochberg=bh[i],
            p_bonferroni=bonferroni[i], testable=testable[i], tests=tests, asked=len(compared),
        )
        for i, ((question, group), record) in enumerate(zip(heads, compared, strict=True))
    ]  # fmt: skip


def _tally(a: np.ndarray, b: np.ndarray, partition: rates.Cells, known: np.ndarray | None) -> np.ndarray:
    """bool [N] twice, of the images `known` -> counts [4, G]: both, only a, only b, neither."""
    inside = (partition.of >= 0) & (True if known is None else known)
    kind = np.where(a, np.where(b, 0, 1), np.where(b, 2, 3))
    flat = kind[inside] * len(partition.groups) + partition.of[inside]
    return np.bincount(flat, minlength=4 * len(partition.groups)).reshape(4, -1)


def questions(run: Run) -> dict[Question, np.ndarray]:
    """("set", "crime") -> bool [N]: what a run says yes or no to for every image."""
    return ANSWERED.get(run.probe, _right)(run)


def ranked(run: Run) -> bool:
    """Whether its images have several labels and each class ranks them: no single image is right or wrong."""
    return run.probe not in ANSWERED and bool(run.records) and run.records[0].metric in RANKED


def scored(run: Run) -> Run:
    """The run with the images that its accuracy is of: those with a label, where that is what is asked."""
    if run.probe in ANSWERED or "label" not in run.predictions:
        return run
    return run.of_rows(np.flatnonzero(run.predictions["label"] != ""))


def _sets(run: Run) -> dict[Question, np.ndarray]:
    assert run.design is not None
    return set_questions(run.design, run.answers)


def set_questions(design: Design, answers: np.ndarray) -> dict[Question, np.ndarray]:
    """Class indices [N] -> was each set of the design answered? Each class, where it has no sets."""
    if design.sets:
        return {Question("set", name): design.members(name)[answers] for name in design.counted}
    return {Question("class", name): answers == c for c, name in enumerate(design.names)}


def _labels(run: Run) -> dict[Question, np.ndarray]:
    assert run.design is not None
    if "probabilities" not in run.predictions:
        raise InputError(
            f"{run.path}: labels are compared image by image, and its predictions have no probabilities; run it again "
            "with these (a run in units: clipjax shards plan --probabilities)"
        )
    found, thresholds = run.predictions["probabilities"], run.manifest.result.thresholds
    return {
        Question("label", f"{name} at {100 * t:g}%"): found[:, c] >= t
        for t in thresholds or ()
        for c, name in enumerate(run.design.names)
    }


def annotated(run: Run) -> dict[Question, np.ndarray]:
    """Which images the questions about attributes are scored on, bool [N]: those whose attribute is known."""
    return {question: run.columns[column].astype(str) != "" for question, (column, _) in _asked_attributes(run).items()}


def _attributes(run: Run) -> dict[Question, np.ndarray]:
    return {
        question: run.predictions[name].astype(str) == run.columns[column].astype(str)
        for question, (column, name) in _asked_attributes(run).items()
    }


def _asked_attributes(run: Run) -> dict[Question, tuple[str, str]]:
    """Question -> the attribute's column, and that of the answers."""
    pairs = itertools.product(run.columns, CLASSIFIERS)
    known = {prediction_column(column, classifier): (column, classifier) for column, classifier in pairs}
    return {
        Question("attribute", ", ".join(known[name])): (known[name][0], name)
        for name in run.predictions
        if name in known
    }


def _right(run: Run) -> dict[Question, np.ndarray]:
    if not {"prediction", "label"} <= run.predictions.keys():
        raise InputError(f"{run.path}: a run of {run.probe} without labels answers nothing that could be compared")
    if ranked(run):
        raise InputError(
            f"{run.path}: its images have several labels and are ranked by each class, so a single image is not right "
            "or wrong; compare it with a run whose images have several labels too"
        )
    scores = [name for name in ("text", "image") if f"{RIGHT_OF}{name}" in run.predictions]  # Winoground's
    more = {Question("accuracy", f"{name}_score"): run.predictions[f"{RIGHT_OF}{name}"].astype(bool) for name in scores}
    return {RIGHT: run.predictions["prediction"] == run.predictions["label"]} | more


def _recalled(run: Run) -> dict[Question, np.ndarray]:
    """Whether a caption of an image is among the K nearest, for every K that the run has."""
    if CAPTION_RANK not in run.predictions:
        raise InputError(f"{run.path}: predictions.parquet has no column {CAPTION_RANK}; run the probe again")
    ranks, names = run.predictions[CAPTION_RANK], dict.fromkeys(r.metric for r in run.records)
    ks = [int(name.removeprefix("recall@")) for name in names if name.startswith("recall@")]
    return {Question("accuracy", f"recall@{k}"): ranks <= k for k in ks}


# Other probes are right or wrong by a label.
ANSWERED = {"rates": _sets, "labels": _labels, "attributes": _attributes, "retrieval": _recalled}


def _fields(a: Run, b: Run) -> dict[str, tuple[str, ...]]:
    if a.manifest.computed_by or b.manifest.computed_by:
        return INGESTED
    return CUSTOM if a.manifest.model.custom or b.manifest.model.custom else FIELDS


def _field(manifest: Manifest, field: str) -> Any:
    found: Any = manifest
    for part in field.split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
    return found


def _brief(value: Any) -> str:
    text = str(value) if value not in ("", None) else "none"
    return text if len(text) <= 24 else text[:12] + "…"


def _only(asked: Answers, both: Answers) -> list[str]:
    """The names of questions that one run alone answers."""
    return [one.name for one in asked if one not in both]


def _names(asked: Answers) -> str:
    return some([name for _, name in asked]) or "none"
