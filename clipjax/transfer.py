"""One http(s) address into one file: resumed, verified, whole or not there. What to fetch is download.py's business.

The body grows in `FILENAME.partial`; `FILENAME.partial-origin` says which address and which version (validator) it
is a part of. A server that has ranges continues it, and says with `If-Range` when it has another version by now.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipjax.errors import InputError
from clipjax.progress import Progress, say

TRIES = 5  # requests in a row that hardly brought anything, before the source is given up
ENOUGH = 8 << 20  # bytes after which a request counts as useful, and the tries start again
BACKOFF = 1.0  # seconds before the second try, doubled from then on
BLOCK = 1 << 20

_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_HTML = (b"<!doctype html", b"<html")


class Failed(Exception):
    """This address will not give the file; the text is the reason."""


class Missing(Failed):
    """The server is well and does not have the file (404, 410)."""


class WrongBytes(Failed):
    """A whole file came, and its sha256 is not the right one."""


class _Again(Exception):
    """Something passing went wrong: the same address is worth another request."""


class _Unreachable(_Again):
    """No connection at all: worth waiting for only when this address gave something a moment ago."""


class Partial:
    """The bytes that have arrived for `target`, and where they are from."""

    def __init__(self, target: Path):
        self.path = target.with_name(target.name + ".partial")
        self._origin = target.with_name(target.name + ".partial-origin")

    def size(self) -> int:
        """Bytes that are there; 0 where there is no file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self, url: str) -> str | None:
        """The strong ETag or the date of the version of `url` these bytes are from; "" when the server gave
        neither, None when the bytes are from elsewhere."""
        try:
            origin = json.loads(self._origin.read_text())
            return origin["validator"] if origin["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def restart(self, url: str, validator: str) -> None:
        """Empties the file for a body from `url`."""
        # In this order a kill in between leaves no old bytes under the new origin.
        self.path.write_bytes(b"")
        self._origin.write_text(json.dumps({"url": url, "validator": validator}))

    def discard(self) -> None:
        """Removes both files."""
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Gives the file its final name."""
        with self.path.open("rb") as file:
            # The stamp that follows vouches for these bytes, so a power cut must not take them back.
            os.fsync(file.fileno())
        os.replace(self.path, target)
        self._origin.unlink(missing_ok=True)


def receive(
    url: str, target: Path, expected: str | None, timeout: float, headers: Mapping[str, str] | None = None
) -> str:
    """Downloads `url` to `target`, which appears whole and verified or not at all; returns its sha256.

    Args:
        url: An http(s) address.
        target: The final name; its folder exists and the caller holds the lock for it.
        expected: The right sha256. None: whatever the server itself declares for it, if it does.
        timeout: Seconds without a byte after which the connection counts as stalled.
        headers: More request headers; `Authorization` does not follow a redirect to another host.

    Raises:
        Failed: With the reason. OSError: The file system, never the network.
    """
    partial = Partial(target)
    tries, delivered = 0, False
    while True:
        before = partial.size()
        try:
            digest = _request(url, partial, expected, timeout, dict(headers or {}))
            partial.finish(target)
            return digest
        except _Again as error:
            gained = partial.size() - before
            delivered |= gained > 0
            tries = 1 if gained >= ENOUGH else tries + 1
            if isinstance(error, _Unreachable) and not delivered:
                raise Failed(str(error)) from error
            if tries >= TRIES:
                raise Failed(f"{error} ({tries} times in a row)") from error
            say(f"{urlsplit(url).hostname}: {error}; trying again")
            time.sleep(BACKOFF * 2 ** (tries - 1))


def _request(url: str, partial: Partial, expected: str | None, timeout: float, headers: dict[str, str]) -> str:
    """Asks once, for what is missing; returns the digest of the then complete and verified partial file."""
    offset, validator = partial.size(), partial.validator(url)
    if validator is None or (not validator and expected is None):
        offset = 0  # nothing could tell a mixture of two versions from the file
    hasher = hash_file(partial.path, f"resume {partial.path.stem}") if offset else hashlib.sha256()
    if offset and hasher.hexdigest() == expected:
        return hasher.hexdigest()  # ended between the last byte and the rename
    headers |= {"User-Agent": "clipjax", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    redirects = _Redirects()
    with _open(url, headers, redirects, timeout, partial) as response:
        expected = expected or redirects.declared or _declared(response.headers)
        offset, remaining = _body(response, offset, validator or "", partial)
        if remaining is None and not response.chunked and expected is None:
            raise Failed("sent no length, and no sha256 is published: a part cannot be told from the whole")
        first = _read(response)
        _check_space(partial, offset, remaining)
        if not offset:
            if first.lstrip()[:16].lower().startswith(_HTML):
                raise Failed("answered with a web page, not with the file")
            hasher = hashlib.sha256()
            partial.restart(url, _validator(response.headers))
        _append(response, first, remaining, partial, offset, hasher)
    return _verified(hasher.hexdigest(), expected, partial, resumed=offset > 0)


def _append(response: Any, block: bytes, remaining: int | None, partial: Partial, offset: int, hasher: Any) -> None:
    total = None if remaining is None else offset + remaining
    stage = f"download {partial.path.stem}"
    # Unbuffered, so that a kill loses nothing that had arrived.
    with partial.path.open("ab", buffering=0) as file, Progress(stage, total, "B", start=offset) as progress:
        arrived = offset
        while block:
            view = memoryview(block)
            while view:  # a raw write may take only a part, e.g. up to the end of a disk
                view = view[file.write(view) :]
            hasher.update(block)
            arrived += len(block)
            progress.update(len(block))
            block = _read(response)
    if total is not None and arrived < total:
        raise _Again(f"closed the connection after {arrived} of {total} bytes")
    if not arrived:
        raise Failed("sent an empty file")


def _verified(digest: str, expected: str | None, partial: Partial, resumed: bool) -> str:
    if expected is None or digest == expected:
        return digest
    partial.discard()
    reason = f"sent a file whose sha256 is {digest[:12]}..., not {expected[:12]}..."
    if resumed:
        # The first half may be at fault (a crash of this machine): one clean start decides.
        raise _Again(f"{reason}; starting anew")
    raise WrongBytes(reason)


def _body(response: Any, offset: int, validator: str, partial: Partial) -> tuple[int, int | None]:
    """Returns where the body starts in the file, and how many bytes it has (None: not announced)."""
    kind = response.headers.get_content_type()
    if "Content-Type" in response.headers and kind in ("text/html", "application/xhtml+xml"):
        raise Failed("answered with a web page, not with the file")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Failed(f"sent the file in an encoding that was not asked for ({response.headers['Content-Encoding']})")
    if response.status == 200:
        return 0, response.length
    if response.status != 206 or not offset:
        raise Failed(f"answered {response.status} {response.reason}")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    now = _validator(response.headers)
    if not found or int(found[1]) != offset or (validator.startswith('"') and now.startswith('"') and now != validator):
        partial.discard()
        raise _Again("continued with other bytes than asked for; starting anew")
    end = int(found[2]) + 1 if found[3] == "*" else int(found[3])
    return offset, end - offset


def _validator(headers: Any) -> str:
    # RFC 9110, 13.1.5: If-Range takes a strong ETag, or a date; a weak ETag (W/"...") does not vouch for bytes.
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _declared(headers: Any) -> str | None:
    # The hub declares the sha256 of its large files; a small one's tag is a 40-digit git hash.
    tag = headers.get("X-Linked-Etag", "").strip('"')
    return tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None


def _check_space(partial: Partial, offset: int, remaining: int | None) -> None:
    folder = partial.path.parent
    free = shutil.disk_usage(folder).free + partial.size() - offset  # a fresh start gives the old part back
    if remaining is not None and remaining > free:
        raise InputError(
            f"{folder} has {free / 1e6:.0f} MB free and {partial.path.stem} needs {remaining / 1e6:.0f} MB more; "
            "free some space and repeat (what has arrived is kept), or set CLIPJAX_CACHE to another disk"
        )


def hash_file(path: Path, stage: str) -> Any:
    """Returns a hashlib sha256 object that has seen the file."""
    hasher = hashlib.sha256()
    with path.open("rb") as file, Progress(stage, path.stat().st_size, "B") as progress:
        while block := file.read(BLOCK):
            hasher.update(block)
            progress.update(len(block))
    return hasher


# --- http ------------------------------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http(s), never from https down to http, and shows a token to no other host."""

    declared: str | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            reason = f"redirect to {new.scheme}://{new.hostname} refused"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        self.declared = self.declared or _declared(headers)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.remove_header("Authorization")
        return request


def _open(url: str, headers: dict[str, str], redirects: _Redirects, timeout: float, partial: Partial) -> Any:
    # Not urllib's default opener: that one also opens file: and ftp: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        redirects,
    ):
        opener.add_handler(handler)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, partial) from error
    except urllib.error.URLError as error:
        raise _Unreachable(f"cannot connect ({_reason(error.reason)})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise Failed(f"no valid address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Again(_reason(error)) from error


def _refusal(error: urllib.error.HTTPError, partial: Partial) -> Exception:
    reason = f"{error.code} {error.reason}"
    if error.code in (404, 410):
        return Missing(reason)
    if error.code == 416:  # the file has become shorter than the part we have
        partial.discard()
        return _Again(f"{reason}; starting anew")
    if error.code in (401, 403):
        return Failed(f"{reason} (a private or gated file of the hub needs a valid HF_TOKEN)")
    return (_Again if error.code in _TRANSIENT else Failed)(reason)


def _read(response: Any) -> bytes:
    # read1 and not read: what came before a stall is returned, not lost with the exception.
    try:
        return response.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Again(_reason(error)) from error


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
