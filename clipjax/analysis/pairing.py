"""Which rows of two runs are the same image, and whether both runs say the same of it.

Images are paired by their contents (the column `image_sha256` of predictions.parquet): names, folders, tables,
containers, file times and the order do not matter. Questions of the probe `captions` are paired by their images and
captions, as several may be about one image. Answers that were ingested come without contents: those images are paired
by their names, where names tell them apart in both runs. What annotators said of an image has to be equal: runs whose
groups or labels differ would be compared by those of one of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from clipjax.analysis import predictions
from clipjax.analysis.run import IMAGE, QUESTION, REMEDY, Run
from clipjax.errors import InputError, brief, some

ANNOTATIONS = ("a", "b")  # whose count where they differ
NAMED = 3  # images that a refusal names


@dataclasses.dataclass(frozen=True, eq=False)
class Paired:
    """Two runs whose rows are the same images, in A's order and with A's file names: they are read in `blocks`.

    `by_name`: images were paired by their file names, since one run does not know what they hold.
    `annotations`: "equal", or the run whose were taken for both. `only_a`, `only_b`: columns that the other run lacks.
    """

    a: Run
    b: Run
    same_order: bool
    by_name: bool
    annotations: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def images(self) -> int:
        """How many."""
        return self.a.rows

    def blocks(self, columns: Callable[[Run], Sequence[str]]) -> Iterator[tuple[Run, Run]]:
        """The same images of both runs, some after the other, with some of their columns."""
        return zip(*(run.blocks(columns(run)) for run in (self.a, self.b)), strict=True)


def pair(a: Run, b: Run, annotations: str = "") -> Paired:
    """Pairs the images of two runs.

    annotations: "a" or "b" takes that run's labels and groups for both; "" refuses runs whose differ.

    Raises:
        InputError: the runs saw other images, or their annotations of the same images differ.
    """
    if annotations not in ("", *ANNOTATIONS):
        raise InputError(f"--annotations={annotations}: choose {' or '.join(ANNOTATIONS)}")
    if max(a.rows, b.rows) > predictions.ROWS and _aligned(a, b):
        mine, theirs = _annotated(a), _annotated(b)
        only_a, only_b = (tuple(n for n in x if n not in y) for x, y in ((mine, theirs), (theirs, mine)))
        return Paired(a, b, True, False, "equal", only_a, only_b)
    columns_a, columns_b = _annotations(a), _annotations(b)
    if "label" in columns_a and "label" in columns_b:
        columns_b["label"] = _renamed(columns_b["label"], b, a)
    shared = [name for name in columns_a if name in columns_b]
    by_name = any(run.manifest.computed_by and IMAGE not in run.names for run in (a, b))
    ids_a, ids_b = _names(a, b) if by_name else (images(a), images(b))
    same_order = np.array_equal(ids_a, ids_b)
    if not same_order:
        _check_same_images(a, b, ids_a, ids_b)
        place = _matched([ids_a, *(columns_a[name] for name in shared)], [ids_b, *(columns_b[name] for name in shared)])
        b = b.of_rows(place)
        columns_b = {name: values[place] for name, values in columns_b.items()}
    differing = [_difference(a, name, columns_a[name], columns_b[name]) for name in shared]
    if (found := list(filter(None, differing))) and not annotations:
        raise InputError(
            f"{a.path} and {b.path} annotate the same images differently: {'; '.join(found)}; correct the tables and "
            "run the probes again, or take one run's annotations for both: --annotations=a (or b)"
        )
    if found:
        taken = {name: (columns_a if annotations == "a" else columns_b)[name] for name in shared}
        named = {"label": _renamed(taken["label"], a, b)} if "label" in taken else {}
        a, b = a.with_columns(taken), b.with_columns(taken | named)
    only_a, only_b = (tuple(name for name in mine if name not in shared) for mine in (columns_a, columns_b))
    return Paired(a, b, same_order, by_name, annotations if found else "equal", only_a, only_b)


def images(run: Run) -> np.ndarray:
    """What each image is, text [N]: equal for equal bytes. Of captions: what each question and its images are."""
    return run.predictions[_identity(run)]


def _identity(run: Run) -> str:
    """The column that says what each image is."""
    if IMAGE not in run.names:
        raise InputError(f"{run.path}: its predictions do not say what the images hold (no column {IMAGE}); {REMEDY}")
    return QUESTION if QUESTION in run.names else IMAGE


def _annotated(run: Run) -> list[str]:
    """The columns of what was known of the images."""
    return [*run.group_columns, *["label"][: "label" in run.names and "label" not in run.group_columns]]


def _aligned(a: Run, b: Run) -> bool:
    """Whether both runs have the same images in the same order, annotated alike: then nothing has to be matched, and
    one block of each run is in memory."""
    if a.rows != b.rows or any(IMAGE not in run.names for run in (a, b)) or _identity(a) != _identity(b):
        return False
    shared = [name for name in _annotated(a) if name in _annotated(b)]
    wanted = [_identity(a), *shared]
    for x, y in zip(a.blocks(wanted), b.blocks(wanted), strict=True):
        for name in wanted:
            mine, theirs = x.predictions[name], y.predictions[name]
            if not np.array_equal(mine, theirs) and not (
                name == "label" and np.array_equal(mine, _renamed(theirs, b, a))
            ):
                return False
    return True


def _names(a: Run, b: Run) -> tuple[np.ndarray, np.ndarray]:
    """File names of two runs [N], as they are where they share any, else without folders. InputError where a name is
    several images in either run."""
    names = [run.predictions["file"] for run in (a, b)]
    if not set(names[0]) & set(names[1]):
        names = [np.array([re.split(r"[/\\]", name)[-1] for name in found], object) for found in names]
    for run, found in zip((a, b), names, strict=True):
        distinct, n = np.unique(found, return_counts=True)
        if (n > 1).any():
            raise InputError(
                f"{a.path} and {b.path} can only be paired by file name, and {len(distinct[n > 1])} names are several "
                f"images of {run.path} ({brief(str(distinct[n > 1][0]))}); give the ingested table a column {IMAGE}, "
                "or ids that are the file names of the other run"
            )
    return names[0], names[1]


def _annotations(run: Run) -> dict[str, np.ndarray]:
    """What was known of the images [N] before a model saw them: group columns and the label, as text."""
    found = dict(run.columns)
    if "label" in run.predictions:
        found["label"] = run.predictions["label"]
    return {name: values.astype(str).astype(object) for name, values in found.items()}


def _renamed(labels: np.ndarray, own: Run, other: Run) -> np.ndarray:
    """Labels [N] that only one run's design has, by the names of the other's: two designs may call a class otherwise.

    Classes stand at the same place then; labels that are not of the design stay as they are.
    """
    if own.design is None or other.design is None or len(own.design.names) != len(other.design.names):
        return labels
    pairs = zip(own.design.names, other.design.names, strict=True)
    names = {mine: theirs for mine, theirs in pairs if mine not in other.design.names}
    return np.array(["|".join(names.get(part, part) for part in label.split("|")) for label in labels], object)


def _check_same_images(a: Run, b: Run, ids_a: np.ndarray, ids_b: np.ndarray) -> None:
    """InputError unless both saw the same images equally often."""
    lines = []
    for run, ids, others in ((a, ids_a, ids_b), (b, ids_b, ids_a)):
        left = _without(ids, others)
        if len(left):
            files = some([brief(str(name)) for name in run.predictions["file"][left]], NAMED)
            lines.append(f"{len(left)} of the {len(ids)} images of {run.path} are not in the other ({files})")
    if lines:
        raise InputError(
            f"{a.path} and {b.path} are not comparable: other images: {'; '.join(lines)}. compare runs over the same "
            "images"
        )


def _without(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rows of `ids` that `others` does not hold, or not as often."""
    known, n = np.unique(others, return_counts=True)
    most = dict(zip(known.tolist(), n.tolist(), strict=True))
    return np.flatnonzero(_occurrence(ids) >= np.array([most.get(one, 0) for one in ids.tolist()]))


def _occurrence(ids: np.ndarray) -> np.ndarray:
    """How often the image of each row came before."""
    seen: dict[str, int] = {}
    out = np.empty(len(ids), np.int64)
    for row, one in enumerate(ids.tolist()):
        out[row] = seen.get(one, 0)
        seen[one] = out[row] + 1
    return out


def _matched(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """For each row of A the row of B that is the same image; of equal images, the one that is annotated alike."""
    place = np.empty(len(a[0]), np.int64)
    place[_order(a)] = _order(b)
    return place


def _order(columns: Sequence[np.ndarray]) -> list[int]:
    rows = list(zip(*columns, strict=True))
    return sorted(range(len(rows)), key=rows.__getitem__)


def _difference(run: Run, name: str, a: np.ndarray, b: np.ndarray) -> str:
    """In words, where the annotations of one column [N] differ; "" where they do not."""
    rows = np.flatnonzero(a != b)
    if not len(rows):
        return ""
    files = run.predictions["file"]
    first = [f"{brief(str(files[i]))}: {brief(a[i] or 'nothing')!r} and {brief(b[i] or 'nothing')!r}" for i in rows]
    return f"column {name!r} differs for {len(rows)} of {len(a)} images ({some(first[: NAMED + 1], NAMED)})"
