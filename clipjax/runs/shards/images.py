"""The images of a unit as `plan` writes them: a worker reads this table and not the user's, which may be of any size.

Only of sources whose images are files with a path each. A table is a parquet file that every tool reads: key, path,
label, `column NAME` of the source, `group NAME` of the probe.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax.data import perturb
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError
from clipjax.runs import task as tasks
from clipjax.runs.shards.store import NEW_PLAN, Store

if TYPE_CHECKING:
    from clipjax.runs.shards.plan import Input, Plan

FOLDER = "images"


def name(one: Input, units: int) -> str:
    """The name of a unit's table."""
    return f"{FOLDER}/{FOLDER}-{one.unit:06d}-of-{units:06d}-{one.table[:8]}.parquet"


def are_files(source: Source) -> bool:
    """Whether the images of a source are files of one image each, so that a table can say where they are."""
    if source.size is not None or source.packed or source.contents is not None:
        return False
    for row in range(len(source)):
        try:
            return isinstance(source.read(row), os.PathLike)
        except (InputError, OSError):
            continue  # a row that names no file
    return False


def table(task: Any, groups: dict[str, np.ndarray], start: int, stop: int) -> bytes:
    """The file of rows [start, stop) of a task."""
    source, rows = task.source, slice(start, stop)
    places = [_place(source, row) for row in range(start, stop)]
    columns: dict[str, Any] = {
        "key": source.files[rows].tolist(),
        "path": [path for path, _ in places],
        "lost": [reason for _, reason in places],
    }
    if task.labels is not None:
        columns["label"] = task.labels.select(rows).texts().tolist()
    if "split" in source.protocol:  # the only one that counts are made by
        columns["split"] = source.protocol["split"][rows].tolist()
    for kind, values in (("column", source.columns), ("group", groups)):
        columns |= {f"{kind} {name}": one[rows].tolist() for name, one in values.items()}
    out = io.BytesIO()
    made = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    pq.write_table(made, out, compression="zstd")
    return out.getvalue()


def _place(source: Source, row: int) -> tuple[str | None, str | None]:
    """Where an image is; or why that is not known."""
    try:
        path = source.read(row)
        assert isinstance(path, os.PathLike), (source.name, row)
        return os.fspath(path), None
    except (InputError, OSError) as error:
        return None, str(error)


def read(store: Store, plan: Plan, one: Input, asked: Any) -> tasks.Rows:
    """The images of a unit. InputError where the table is not the plan's."""
    where = name(one, plan.units)
    data = store.read(where)
    if hashlib.sha256(data).hexdigest() != one.table:
        raise InputError(f"{store.path(where)} is not what the plan wrote; {NEW_PLAN}")
    found = {name: np.array(values, object) for name, values in pq.read_table(io.BytesIO(data)).to_pydict().items()}
    paths, lost = found["path"], found["lost"]

    def path(i: int) -> Any:
        if paths[i] is None:
            raise InputError(lost[i])
        return as_path(paths[i])

    def named(kind: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(kind): values for key, values in found.items() if key.startswith(kind)}

    change = perturb.parse(asked.data.perturb)
    protocol = {"split": found["split"]} if "split" in found else {}
    source = Source(plan.data, found["key"], path, columns=named("column "), protocol=protocol, change=change)
    design = plan.design.design()
    assert design is not None
    sides = (plan.sides[0], plan.sides[1]) if plan.sides else None
    return tasks.Rows(source, design, found.get("label"), plan.metric, named("group "), sides)
