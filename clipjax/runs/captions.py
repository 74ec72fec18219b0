"""Caption choice: is the right caption more similar to its image than wrong ones are? By subset and by group."""

from __future__ import annotations

import dataclasses

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import groups as by_group
from clipjax.analysis import rates
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.analysis.run import IMAGE, QUESTION, RIGHT_OF
from clipjax.data.source import Source, digest
from clipjax.design import Design
from clipjax.errors import InputError, require, some
from clipjax.keys import key
from clipjax.probes import captions
from clipjax.probes.zeroshot import normalise
from clipjax.progress import say
from clipjax.runs import caption_tables, groups, scoring
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.runs.caption_tables import Instances
from clipjax.runs.config import Intervals, words
from clipjax.runs.features import Features
from clipjax.runs.result import Result

UNREAD = ("caption_columns", "group_columns")  # `data.` keys that change nothing here: captions are in the table
MAIN = {
    "pairs": "choice_accuracy",
    "countbench": "choice_accuracy",
    "winoground": "group_score",
    "visogender": "resolution_accuracy",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Intervals):
    """What is read."""

    instances: str = key(
        "", "the table of questions: csv, tsv, jsonl, json or parquet; one row for each; countbench has none"
    )
    layout: caption_tables.Layout = key(
        "pairs", "pairs (SugarCrepe, ARO, your own), winoground, visogender or countbench"
    )
    image: str = key("", "column of the image's file, relative to data.path; empty: the layout's")
    right: str = key("", "column of the right caption; empty: the layout's")
    wrong: str = key("", "columns of wrong captions, by commas; empty: the layout's")
    subset: str = key("", "column of the subset that is also scored by itself; empty: the layout's")
    by: str = key("", "columns of the table to group by: race,gender,race*gender")
    template: str = key("{}", "every caption is put into it")
    truncate: bool = key(True, "captions that are too long are cut; the manifest counts them")
    min_n: int = key(20, "cells with fewer images, or questions about them, are marked")


@dataclasses.dataclass(frozen=True)
class CaptionsTask:
    """The images that questions are about, and the questions; `columns` [N] and `grouped` are of the questions."""

    source: Source
    design: Design
    instances: Instances
    columns: dict[str, np.ndarray]
    grouped: list[tuple[str, ...]]


def prepare(config: Config) -> CaptionsTask:
    """The images, the table, and that every file is there."""
    numbers = config.layout == "countbench"
    if unread := [
        name for name in ("instances", "image", "right", "wrong", "subset") if numbers and getattr(config, name)
    ]:
        raise InputError(f"{unread[0]} is not read with layout=countbench, whose captions come with its images")
    if not config.instances and not numbers:
        raise InputError("captions needs the table of questions: --config.instances=FILE")
    if config.template.count("{}") != 1:
        raise InputError(f"template {config.template!r}: write {{}} once, where the caption goes")
    groups.checked_method(config.method, config.level, config.min_n, config.seed)
    columns = tuple(dict.fromkeys(name for entry in words(config.by) for name in words(entry, "*")))
    if numbers:
        return _of_numbers(config, columns)
    found = caption_tables.read(
        config.instances, config.layout, config.right, words(config.wrong), config.image, config.subset, columns
    )
    if taken := [name for name in columns if name in tasks.RESULT_COLUMNS]:
        raise InputError(f"{config.instances}: by={taken[0]}: predictions.parquet has a column of that name; rename it")
    if found.truth is not None and (unknown := sorted(set(found.truth.tolist()) - {"masculine", "feminine"})):
        raise InputError(f"{config.instances}: perceived gender {unknown[0]!r} has no pronoun here")
    source = opening.open_source(config.data).source
    place = {name: row for row, name in enumerate(source.files)}
    needed = dict.fromkeys(file for files in found.images for file in files)
    if missing := [file for file in needed if file not in place]:
        raise InputError(
            f"{config.instances} names {len(missing)} images that {source.name} does not have: {some(missing, 3)}"
        )
    source = source.select(np.array(sorted(place[file] for file in needed)))
    grouped = [grouping for grouping in rates.groupings(config.by, list(columns)) if grouping]
    design = Design("captions", (), (config.template,), source="the captions of the table")
    return CaptionsTask(source, design, found, found.columns, grouped)


def _of_numbers(config: Config, columns: tuple[str, ...]) -> CaptionsTask:
    """The images of a data set whose labels are numbers and whose captions say them."""
    source = opening.open_source(config.data).source
    if source.captions is None or source.labels is None:
        raise InputError(
            f"{source.name}: layout=countbench needs captions and numbers: --config.data.source=countbench"
        )
    for name in columns:
        require(name, ("number",), "layout=countbench: by", "column")
    numbers = source.labels.texts().tolist()
    found = caption_tables.of_numbers(source.files.tolist(), source.captions.tolist(), numbers, source.name)
    grouped = [grouping for grouping in rates.groupings(config.by, list(columns)) if grouping]
    design = Design("captions", (), (config.template,), source="the captions of the data set, with other numbers")
    return CaptionsTask(source, design, found, {name: found.columns[name] for name in columns}, grouped)


def run(config: Config, features: Features, task: CaptionsTask) -> Result:
    """Similarities of every image with its captions, and which caption was chosen."""
    encoded = features.images(task.source)
    place = {task.source.files[row]: i for i, row in enumerate(encoded.rows)}
    readable = [i for i, files in enumerate(task.instances.images) if all(file in place for file in files)]
    if lost := len(task.instances) - len(readable):
        say(f"note: {lost} of {len(task.instances)} questions are about images that could not be read; left out")
    if not readable:
        raise InputError(f"{config.instances}: no question is about an image that could be read")
    asked = task.instances.select(np.array(readable))
    texts = [config.template.replace("{}", caption) for listed in asked.captions for caption in listed]
    text_features = normalise(features.texts(texts, truncate=config.truncate))
    scores = similarities(normalise(encoded.values), text_features, asked, place)
    method = groups.checked_method(config.method, config.level, config.min_n, config.seed)
    records, right = scored(asked, scores, method)
    records += of_groups(asked, right, task.grouped, method)
    counted = features.engine.text_lengths(texts)
    cut = None if counted is None else int((counted[0] > counted[1]).sum())
    first = np.array([place[files[0]] for files in asked.images])
    contents = dict(zip(task.source.files[encoded.rows], task.source.short_digests[encoded.rows], strict=True))
    table = {
        "file": np.array([" | ".join(files) for files in asked.images], object),
        IMAGE: task.source.short_digests[encoded.rows[first]],
        QUESTION: np.array(
            [
                digest([*(contents[file] for file in files), *listed])[:16]
                for files, listed in zip(asked.images, asked.captions, strict=True)
            ],
            object,
        ),
        "label": np.array([_label(asked, i) for i in range(len(asked))], object),
        "prediction": np.array([_label(asked, i) if right[i] else _other(asked, scores, i) for i in range(len(asked))]),
        **({} if asked.subset is None else {"subset": asked.subset}),
        **_scores(asked, scores),
        **asked.columns,
    }
    table["prediction"] = table["prediction"].astype(object)
    outcome = Outcome(captions=len(texts), truncated=cut)
    return Result(records, table, encoded.skipped, task.design, outcome, seen=len(encoded.rows))


def similarities(images: np.ndarray, texts: np.ndarray, asked: Instances, place: dict[str, int]) -> list[np.ndarray]:
    """Unit image features [I, E] and captions [T, E] in the order of the questions -> cosines [images, captions] of
    each question; equal texts have equal cosines to the bit."""
    out, start = [], 0
    for files, listed in zip(asked.images, asked.captions, strict=True):
        mine = texts[start : start + len(listed)]
        rows = images[[place[file] for file in files]]
        out.append((rows[:, None].astype(np.float64) * mine[None]).sum(-1))
        start += len(listed)
    return out


def scored(asked: Instances, scores: list[np.ndarray], method: rates.Method) -> tuple[list[Record], np.ndarray]:
    """Records of the layout, the main one first, and whether each question was answered right, bool [N]."""
    if asked.layout == "winoground":
        table = np.stack(scores)
        records = sorted(captions.winoground(table, method), key=lambda r: r.metric != MAIN["winoground"])
        return records, captions.winoground_right(table)["group"]
    if asked.layout == "visogender":
        assert asked.truth is not None
        table = np.concatenate(scores)
        records = captions.resolution_accuracy(table, asked.truth, asked.occupation, method=method)
        return records, table.argmax(1) == (asked.truth == "feminine").astype(int)
    most = max(len(one[0]) for one in scores) - 1
    negatives = np.full((len(scores), most), np.nan)
    for row, one in enumerate(scores):
        negatives[row, : one.shape[1] - 1] = one[0, 1:]
    positive = np.array([one[0, 0] for one in scores])
    return captions.choice_accuracy(positive, negatives, asked.subset, method), captions.choice_right(
        positive, negatives
    )


def of_groups(
    asked: Instances, right: np.ndarray, grouped: list[tuple[str, ...]], method: rates.Method
) -> list[Record]:
    """The main score by group, and the groups compared."""
    out, metric = [], MAIN[asked.layout]
    for grouping in grouped:
        cells = rates.cells(grouping, asked.columns, len(right))
        out += by_group.accuracy_by_group(right, cells, method, metric)
        out += scoring.compared(metric, right, cells, grouping, method)
    return [replace(record, group=record.group or {}) for record in out]


def _scores(asked: Instances, scores: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Whether Winoground's text and image score have each question right; the group score is the answer itself."""
    if asked.layout != "winoground":
        return {}
    right = captions.winoground_right(np.stack(scores))
    return {f"{RIGHT_OF}{name}": right[name] for name in ("text", "image")}


def _label(asked: Instances, i: int) -> str:
    """The right answer of a question."""
    if asked.layout == "winoground":
        return " | ".join(asked.captions[i])
    if asked.truth is not None:
        return asked.captions[i][int(asked.truth[i] == "feminine")]
    return asked.captions[i][0]


def _other(asked: Instances, scores: list[np.ndarray], i: int) -> str:
    """The answer of a question that was answered wrong."""
    if asked.layout == "winoground":
        return "another pairing"
    if asked.truth is not None:
        return asked.captions[i][int(scores[i][0].argmax())]
    return asked.captions[i][1 + int(scores[i][0, 1:].argmax())]
