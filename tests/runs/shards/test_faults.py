"""Units in a bucket whose requests fail, are answered late or twice, and whose lists are old: nothing is lost, and
nothing counts twice."""

import contextlib
import random
import types

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.amount import amount

from clipjax.errors import InputError
from clipjax.runs.shards import plan, seal, units, work
from clipjax.runs.shards.store import Store
from clipjax.runs.shards.work import Worker

PLACE = "memory://bucket/run"
REFUSED, LOST, REPEATED, OLD = "refused", "answer lost", "repeated", "old list"


class Bucket(MemoryFileSystem):
    """`fate(n)` says what happens to the n-th request: it is refused (503) before anything is done; it is done and the
    answer is lost; the client sends it twice, and has the second answer; a list is what it was at the start."""

    cachable = False

    def __init__(self, objects, fate=lambda n: ""):
        super().__init__()
        self.store, self.pseudo_dirs = dict(objects), [""]
        self.start, self.fate, self.requests, self._within = dict(objects), fate, 0, False
        self.then = lambda n: None  # what happens after the n-th request

    def _request(self, act):
        if self._within:
            return act()
        self.requests += 1
        n, fate = self.requests, self.fate(self.requests)
        if fate == REFUSED:
            raise OSError("503 Slow Down")
        self._within, now = True, self.store
        try:
            if fate == OLD and act.__name__ == "ls":
                self.store = self.start
            done = act()
            if fate == LOST:
                raise TimeoutError("the connection was closed")
            return act() if fate == REPEATED else done
        finally:
            self._within, self.store = False, now
            self.then(n)

    def open(self, path, mode="rb", **kwargs):
        assert self._within or mode == "rb", "what is open for writing is uploaded as far as it is when a signal comes"
        return self._request(lambda: MemoryFileSystem.open(self, path, mode, **kwargs))


def _as_request(name):
    own = getattr(MemoryFileSystem, name)

    def request(self, *args, **kwargs):
        def act():
            return own(self, *args, **kwargs)

        act.__name__ = name
        return self._request(act)

    return request


for _name in ("ls", "exists", "size", "pipe_file", "put_file", "rm_file"):
    setattr(Bucket, _name, _as_request(_name))


def opened(objects, fate=lambda n: ""):
    store = Store(PLACE)
    store._fs = Bucket(objects, fate)
    return store


def contents(store):
    """Every object but markers and the log, with its bytes."""
    found = {name: file.getvalue() for name, file in store._fs.store.items()}
    return {name: data for name, data in found.items() if "/done/" not in name and not name.endswith("/log.jsonl")}


@pytest.fixture(scope="module")
def stages(planned, engines):
    """The objects before work, and before sealing; those of a run without faults; what each unit computes."""
    MemoryFileSystem.store.clear()
    store = planned(PLACE, rows=20)
    before = dict(MemoryFileSystem.store)
    job = work.Job(store, plan.read(store), engines)
    parts = [job.compute(unit) for unit in range(job.plan.units)]
    work.work(store, Worker(0, 1), engines)
    worked = dict(MemoryFileSystem.store)
    MemoryFileSystem.store.clear()
    store = opened(worked)
    seal.seal(store)
    return {"work": before, "seal": worked}, contents(store), parts


@pytest.fixture(autouse=True)
def computed(stages, monkeypatch):
    """Units are not computed again for every fault."""
    arithmetic = units.read_marker(opened(stages[0]["seal"]), 0).arithmetic
    monkeypatch.setattr(work.Job, "compute", lambda job, unit: stages[2][unit])
    monkeypatch.setattr(work.Job, "ready", lambda job: None)
    monkeypatch.setattr(work.Job, "engine", types.SimpleNamespace(circumstances={"arithmetic": arithmetic}))


def do(stage, store):
    return work.work(store, Worker(0, 1)) if stage == "work" else seal.seal(store)


@pytest.mark.parametrize("stage", ["work", "seal"])
@pytest.mark.parametrize("kind", [REFUSED, LOST, REPEATED, OLD])
def test_any_request_may_go_wrong(kind, stage, stages):
    """The k-th request of a worker, or of `seal`, for every k; the same command goes on."""
    objects, expected, _ = stages
    for k in range(1, 300, amount(1, 17)):
        store = opened(objects[stage], lambda n, k=k: kind if n == k else "")
        with contextlib.suppress(InputError):
            do(stage, store)
        reached, store._fs.fate = store._fs.requests >= k, lambda n: ""
        work.work(store, Worker(1, 2))
        seal.seal(store)
        assert contents(store) == expected, f"request {k} of {stage}: {kind}"
        if not reached:
            break
    assert k > 20, "there are requests"


@pytest.mark.parametrize("seed", range(amount(60, 2)))
def test_many_requests_go_wrong_and_workers_change(seed, stages):
    objects, expected, parts = stages
    drawn = random.Random(seed)
    kinds = [REFUSED, LOST, REPEATED, OLD]
    store = opened(objects["work"], lambda n: drawn.choice(kinds) if drawn.random() < 0.1 else "")
    for stage in ("work", "seal"):
        for _ in range(500):
            with contextlib.suppress(InputError):
                if stage == "seal":
                    seal.seal(store)
                    break
                work.work(store, Worker(drawn.randrange(3), 3))
                if len(units.done(store)) == len(parts):
                    break
    store._fs.fate = lambda n: ""
    assert seal.verify(store) == []
    seal.seal(store)
    assert contents(store) == expected


def test_whoever_creates_the_marker_has_the_unit(stages):
    """Another worker, whose device computes something else, does the unit between any two requests of this one."""
    objects, _, parts = stages
    other = units.Part(
        **{name: getattr(parts[1], name) for name in parts[1].__struct_fields__}
        | {"features": parts[1].features + np.float32(1)}
    )
    made, winners = plan.read(opened(objects["work"])), set()
    for k in range(1, 100):
        store = opened(objects["work"])
        race = _once(k, lambda store=store: units.write(store, made, 1, other, "other", "another", 0.0))
        store._fs.then = race
        mine = units.write(store, made, 1, parts[1], "mine", "this", 0.0)
        if not race.said:
            break
        assert race.said == [not mine], "one of the two"
        assert units.read_marker(store, 1).arithmetic == ("mine" if mine else "other")
        assert seal.verify(store) == [], f"after request {k}"
        winners.add(mine)
    assert winners == {True, False}, "each is first once"


def _once(k, act):
    """`act` at the k-th call; what it said is kept."""

    def at(n):
        if n == k:
            at.said.append(act())

    at.said = []
    return at


def test_two_plans_at_once(stages, planned):
    """Who creates plan.json has the place; what the other wrote is seen, not taken for it."""
    made = plan.read(opened(stages[0]["work"]))
    files = {name: opened(stages[0]["work"]).read(name) for name in (plan.INPUTS, plan.WEIGHTS)}
    changed = made.config | {"seed": made.config["seed"] + 1}
    other = plan.Plan(**{name: getattr(made, name) for name in made.__struct_fields__} | {"config": changed})
    for k in range(1, 30):
        store = opened({})
        race = store._fs.then = _once(k, lambda store=store: _told(lambda: plan.write(store, other, files)))
        mine = _told(lambda store=store: plan.write(store, made, files))
        if not race.said:
            break
        assert [*race.said, mine].count("") == 1, f"after request {k}: one of the two is told"
        assert plan.read(store).identity == (other if mine else made).identity
        plan.read_inputs(store, made)
        plan.read_weights(store, made)
    assert k > 5


def _told(act):
    try:
        act()
    except InputError as error:
        return str(error)
    return ""
