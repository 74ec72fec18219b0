"""Who may talk to the explorer: pages that it served itself, on this machine, to whoever has the printed address.

Any page of the internet can send requests to 127.0.0.1 from the user's own browser, and any user of a shared machine
can reach its loopback ports. So the address that is printed carries a secret, which becomes a cookie; names other
than loopback's are refused (DNS rebinding); what is sent has to come from the page itself.
"""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LARGEST = 8 << 20  # bytes of one request: a design of thousands of classes, twice
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Wraps the application. `names`: hosts it answers to; None answers to all (the user chose another --host)."""

    def __init__(self, app: ASGIApp, token: str, names: frozenset[str] | None = LOOPBACK):
        self._app, self._token, self._names = app, token, names
        # Cookies are shared by all ports of a host, and a page that is open stays in at the next start.
        self._cookie = f"clipjax-{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, lets in by the secret, or passes on; every answer gets the headers."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        answer = self._refusal(Request(scope))
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if self._names is not None and _host(headers) not in self._names:
            return PlainTextResponse("the explorer answers to 127.0.0.1 and localhost only", 403)
        if request.method == "GET" and request.url.path == "/" and "token" in request.query_params:
            return self._entrance(request.query_params["token"])
        if not _same(request.cookies.get(self._cookie, ""), self._token):
            return PlainTextResponse("open the whole address that `clipjax explore` printed, with its token", 403)
        if request.method not in ("GET", "HEAD"):
            return _not_of_the_page(headers)
        return None

    def _entrance(self, token: str) -> Response:
        if not _same(token, self._token):
            return PlainTextResponse("this token is of another start; open the address printed last", 403)
        answer = RedirectResponse("/", 303)  # so that the secret leaves the address bar
        answer.set_cookie(self._cookie, token, httponly=True, samesite="lax")
        return answer


def _not_of_the_page(headers: Headers) -> Response | None:
    """Only the page's own scripts: same origin, as JSON, which no form can send."""
    origin = headers.get("origin", "")
    if origin and urlsplit(origin).netloc != headers.get("host", ""):
        return PlainTextResponse("this request comes from another page", 403)
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return PlainTextResponse("this request comes from another page", 403)
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return PlainTextResponse("requests are JSON", 415)
    length = headers.get("content-length", "")
    if not length.isdigit():
        return PlainTextResponse("requests say how long they are", 411)
    return PlainTextResponse("this request is too long", 413) if int(length) > LARGEST else None


def _host(headers: Headers) -> str:
    """The host's name without its port: behind a tunnel that is another one."""
    try:
        return (urlsplit(f"//{headers.get('host', '')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())
