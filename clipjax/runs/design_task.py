"""What probes of class designs work on: images, the design that they are asked with, and the groups they are in."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

from clipjax import design as designs
from clipjax.analysis import rates
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.runs import data, groups
from clipjax.runs import task as tasks
from clipjax.runs.config import Asked, Cells


@dataclasses.dataclass(frozen=True, kw_only=True)
class DesignConfig(Asked, Cells):
    """Of a probe that counts a design's answers in cells."""


@dataclasses.dataclass(frozen=True)
class DesignTask:
    """The columns [N] that images are grouped by, and the groupings; the design's classes are not the labels'."""

    source: Source
    design: Design
    columns: dict[str, np.ndarray]
    grouped: list[tuple[str, ...]]

    @property
    def labels(self) -> Labels | None:
        """The images' own labels, for the table of predictions; they index their own names."""
        return self.source.labels

    def table(self, rows: np.ndarray) -> dict[str, Any]:
        """Of predictions.parquet, for these rows: file, label, every group column and band."""
        found = tasks.columns(self.source, self.labels, rows)
        return found | {name: values[rows] for name, values in self.columns.items()}


AnyTask = TypeVar("AnyTask", bound=DesignTask)


def select(task: AnyTask, rows: np.ndarray) -> AnyTask:
    """The task of these rows [M] alone."""
    columns = {name: values[rows] for name, values in task.columns.items()}
    return dataclasses.replace(task, source=task.source.select(rows), columns=columns)


def of_rows(rows: tasks.Rows, groupings: str = "") -> DesignTask:
    """The task of these rows alone. Their labels are texts here, several of one image one text."""
    source = rows.source
    if rows.labels is not None:
        names, index = np.unique([*rows.labels, ""], return_inverse=True)  # "" is the first
        source = dataclasses.replace(source, labels=Labels(tuple(names[1:].tolist()), index[:-1] - 1))
    return DesignTask(source, rows.design, rows.groups, rates.groupings(groupings, list(rows.groups)))


def prepare(config: DesignConfig, groupings: str = "") -> DesignTask:
    """Everything that can be refused is refused here, before the model is loaded. groupings: `rates.groupings`."""
    asked = tasks.chosen(config.design, config.classes)
    if asked is None:
        raise InputError(f"name a class design: --config.design=FILE.yaml or one of {', '.join(designs.shipped())}")
    if templates := tasks.templates_of(config.templates):
        asked = asked.ask(templates)
    source = data.open_source(config.data).source
    tasks.check_columns(source)
    columns = groups.columns(source, config.data.group_columns, config.bands)
    return DesignTask(source, asked, columns, rates.groupings(groupings, list(columns)))
