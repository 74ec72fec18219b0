"""The explorer's web server: one page, and the questions that it asks; they are answered one at a time.

Everything is computed in one thread, in the order of arrival. Each page numbers its questions; one that has been
overtaken by a newer question of the same page is dropped before it is computed, or between two batches of texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import clipjax
from clipjax import design
from clipjax.analysis import paper
from clipjax.analysis.report import head
from clipjax.analysis.report.page import OUT_OF_SCOPE
from clipjax.analysis.report.section import slug
from clipjax.errors import InputError
from clipjax.explore import exports, form, labels, state, trail, view, wordings
from clipjax.explore.answers import Answers
from clipjax.explore.images import Images
from clipjax.explore.opened import Opened
from clipjax.explore.texts import Superseded
from clipjax.progress import say

PAGE = Path(__file__).parent / "page"
MOST_PAGES = 256
LONGEST_LINE = 400  # characters of a message

Answer = Callable[[dict[str, Any], Callable[[], bool]], Any]


class Explorer:
    """One opened run, served. `close` lets a long answer end early.

    `ahead`: the model is loaded when the page is opened, beside everything else; else when a new prompt needs it.
    `before`: what the page begins with, as `state.read` gives it; None: the run's own design.
    """

    def __init__(self, opened: Opened, ahead: bool = True, before: dict[str, Any] | None = None):
        self.ahead, self.before = ahead, before
        self.opened, self.answers, self.images = opened, Answers(opened), Images(opened)
        self._thread = ThreadPoolExecutor(1, "answers")
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._closed = False

    def app(self) -> Starlette:
        """The routes, without the guard."""
        asked: dict[str, Answer] = {
            "start": self.start, "rates": self.rates, "labels": self.labels, "sample": self.sample,
            "table": self.table, "figure": self.figure, "wordings": self.wordings, "trail": self.trail,
            "report": self.report,
        }  # fmt: skip
        light: dict[str, Callable[[dict[str, Any]], Any]] = {
            "shipped": _shipped, "load": _loaded, "save": _saved, "add": _added, "images": self.switch_images,
        }  # fmt: skip
        routes = [
            Route("/", _file("index.html", "text/html")),
            *(Route(f"/api/{n}", functools.partial(self._asked, f), methods=["POST"]) for n, f in asked.items()),
            *(Route(f"/api/{n}", functools.partial(_light, f), methods=["POST"]) for n, f in light.items()),
            Route("/images/{index:int}", self._image),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
        return Starlette(routes=routes)

    def close(self) -> None:
        """Answers under way end at their next look."""
        self._closed = True
        self._thread.shutdown(wait=False)

    def warm(self) -> None:
        """Loads the model beside everything else; what is wrong with it is reported when a class needs it."""

        def load() -> None:
            with contextlib.suppress(InputError):
                self.answers.texts.warm(self.opened.design.prompts()[0][0])

        # Waited for at the end: the interpreter's end inside XLA would be an abort.
        threading.Thread(target=load, name="model").start()

    def start(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """What the page needs to know about the run, its own design, and the shipped ones."""
        opened, manifest = self.opened, self.opened.run.manifest
        own = self.answers.ask(opened.design, unwanted)
        recorded = opened.run.predictions["prediction"].astype(str)
        if self.ahead:
            self.warm()
        notes = opened.note, head.incomplete(manifest)
        return {
            "version": clipjax.__version__, "run": str(opened.run.path), "id": self._id, "state": self.before,
            "model": manifest.model.name, "data": manifest.data.name, "images": len(opened.unit),
            "skipped": manifest.counts.skipped, "precision": manifest.precision,
            "design": form.write(opened.design), "shipped": list(design.shipped()),
            "differ": int((own.names.astype(str) != recorded).sum()), "device": manifest.device,
            "columns": {name: sorted({v for v in values.tolist() if v}) for name, values in opened.columns.items()},
            "groupings": [list(g) for g in opened.grouped], "kind": opened.run.probe,
            "contrast": {"column": opened.contrast, "sides": list(opened.sides)},
            "caveats": [*filter(None, notes), OUT_OF_SCOPE, *paper.caveats(opened.run)],
        }  # fmt: skip

    @property
    def _id(self) -> str:
        """What a page keeps its state under: the run, and the file that it began with."""
        about = [str(self.opened.run.path.resolve()), self.opened.design.sha256, self.before]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def rates(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """The likeliest class, by group."""
        return view.rates_view(self.answers, view.ask(self.answers, body, unwanted), body)

    def labels(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """Labels over a threshold, between two groups; with the moves of the likeliest class beside them."""
        pair = view.ask(self.answers, body, unwanted)
        return view.rates_view(self.answers, pair, body) | {"labels": labels.labels_view(self.answers, pair, body)}

    def sample(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """Images that got another class; refused while images are off."""
        if not self.images.on:
            raise InputError("images are switched off")
        return view.sample(self.opened, view.ask(self.answers, body, unwanted), body)

    def switch_images(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """On or off."""
        self.images.switch(bool(body.get("on")))
        return {"on": self.images.on}

    def table(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """The table of the view as CSV."""
        found = self._answer(body, unwanted)
        table = exports.labels_table(found["labels"]) if "labels" in found else exports.rates_table(found)
        return {"file": f"{table.name}_{slug(found['design']['name'])}.csv", "text": table.csv()}

    def figure(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> Response:
        """The figure of the view, as the reports draw it."""
        found, kind, which = self._answer(body, unwanted), str(body.get("format", "svg")), body.get("figure")
        if "labels" in found:
            drawing = (exports.curves_figure if which == "curves" else exports.labels_figure)(found["labels"])
        else:
            drawing = exports.rates_figure(found)
        data, media = exports.image(drawing, kind)
        return Response(data, media_type=media)

    def wordings(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """The design asked with each of some templates, or with other texts for one class."""
        return wordings.wordings_view(self.answers, body, unwanted)

    def trail(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """The first finding of each design that was asked."""
        return trail.trail_view(self.answers, body, unwanted)

    def report(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        """The trail as a page of HTML."""
        return trail.report(self.answers, body, unwanted)

    def _answer(self, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
        return (self.labels if body.get("view") == "labels" else self.rates)(body, unwanted)

    async def _asked(self, answer: Answer, request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Response):
            return body
        page, turn = str(body.get("page", ""))[:64], body.get("turn")
        turn = turn if isinstance(turn, int) else 0
        self._turns[page] = max(turn, self._turns.pop(page, 0))
        while len(self._turns) > MOST_PAGES:
            self._turns.popitem(last=False)

        def unwanted() -> bool:
            return self._closed or (turn > 0 and self._turns.get(page, 0) > turn)

        def compute() -> Any:
            if unwanted():
                raise Superseded
            return answer(body, unwanted)

        if self._closed:
            return _dropped()
        begin = time.perf_counter()
        encoded = self.answers.texts.seconds
        found = await _response(asyncio.wrap_future(self._thread.submit(compute)))
        timing = {"texts": self.answers.texts.seconds - encoded, "answer": time.perf_counter() - begin}
        found.headers["server-timing"] = ", ".join(f"{what};dur={1000 * s:.2f}" for what, s in timing.items())
        return found

    async def _image(self, request: Request) -> Response:
        make = functools.partial(self.images.jpeg, request.path_params["index"])
        return await _response(asyncio.to_thread(lambda: Response(make(), media_type="image/jpeg")))


def _shipped(body: Mapping[str, Any]) -> dict[str, Any]:
    """A shipped design by name."""
    name = str(body.get("name", ""))
    if name not in design.shipped():
        raise InputError(f"there is no shipped design {name[:60]!r}")
    return {"design": form.write(design.read_design(name))}


def _loaded(body: Mapping[str, Any]) -> dict[str, Any]:
    """A design out of the text of a YAML file, and the state of a page where the file holds one."""
    return state.read(str(body.get("text", "")), str(body.get("file", ""))[:100] or "the file")


def _saved(body: Mapping[str, Any]) -> dict[str, Any]:
    """The design as the text of a YAML file; with body["whole"] all of the page's state."""
    if body.get("whole"):
        found, text = state.write(body)
        return {"file": f"{slug(found.name)}_explorer.yaml", "text": text}
    found = form.read(body.get("design"))
    return {"file": f"{slug(found.name)}.yaml", "text": found.yaml()}


def _added(body: Mapping[str, Any]) -> dict[str, Any]:
    """One more class for the design of the page."""
    return {"class": form.added(body)}


async def _light(answer: Callable[[dict[str, Any]], Any], request: Request) -> Response:
    body = await _body(request)
    return body if isinstance(body, Response) else await _response(asyncio.to_thread(answer, body))


async def _body(request: Request) -> dict[str, Any] | Response:
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else _error("the request is no JSON object; load the page again")


async def _response(answer: Any) -> Response:
    """The answer as JSON, or the one line that says why there is none."""
    try:
        found = await answer
    except Superseded:
        return _dropped()
    except InputError as error:
        return _error(str(error))
    except Exception as error:
        say("".join(traceback.format_exception(error)))
        return _error(
            f"a defect of clipjax ({type(error).__name__}); its traceback is where `clipjax explore` runs", 500
        )
    return found if isinstance(found, Response) else JSONResponse(found)


def _dropped() -> JSONResponse:
    return JSONResponse({"superseded": True}, 409)


def _error(line: str, status: int = 400) -> JSONResponse:
    line = " ".join(line.split())
    return JSONResponse({"error": line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"}, status)


def _file(name: str, media: str) -> Callable:
    async def serve(request: Request) -> Response:
        return Response((PAGE / name).read_bytes(), media_type=media)

    return serve
