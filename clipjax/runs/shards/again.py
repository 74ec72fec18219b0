"""Some units of a run computed again: do they give the files that the run has?"""

from __future__ import annotations

import hashlib

from clipjax.errors import InputError
from clipjax.runs.engine import Engines
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards import units, work
from clipjax.runs.shards.store import Store


def again(store: Store, count: int, engines: Engines | None = None) -> list[str]:
    """Computes so many finished units again, chosen by a hash, and says of each file that differs what it is of.

    Raises:
        InputError: no unit is done, or the model or the images are not those of the plan.
    """
    plan = plans.read(store)
    done = sorted(units.done(store), key=lambda unit: hashlib.blake2b(f"{plan.identity} {unit}".encode()).digest())
    if not done or count < 1:
        raise InputError(f"{store.place}: {len(done)} units are done, and --recompute={count} is 1 or more of these")
    job, found = work.Job(store, plan, engines or Engines()), []
    job.ready()
    for unit in sorted(done[:count]):
        marker = units.read_marker(store, unit)
        here = job.engine.circumstances["arithmetic"]
        where = "" if marker.arithmetic == here else f" (it was computed by {marker.arithmetic}, now by {here})"
        made = {
            kind: hashlib.sha256(data).hexdigest()
            for kind, data, _ in units.contents(plan, job.compute(unit))
            if data is not None
        }
        known = {kind: file.sha256 for kind, file in marker.files.items()}
        differing = [kind for kind in dict.fromkeys([*known, *made]) if known.get(kind) != made.get(kind)]
        found += [f"unit {unit}: {kind} is another{where}" for kind in differing]
    return found
