"""Weights by name: from a cache, else from OpenAI's own address or the Hugging Face hub (hub.py).

OpenAI publishes the sha256 of every file, so a download is whole and right or not there: it grows in
`FILENAME.partial`, is continued where it stopped, and has its final name only once its sha256 is right. Hashing a
gigabyte takes seconds, so it is done once: `verified/` in the cache says which size and modification time had which
digest. That guards against damage and mix-ups, not against somebody who can write to the cache.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from clipjax import hub
from clipjax.errors import InputError
from clipjax.files import cache_dir as cache_dir
from clipjax.files import write_text
from clipjax.hub import Repository, Unavailable
from clipjax.progress import Progress, say

OPENAI_ENDPOINT = "https://openaipublic.azureedge.net/clip/models"
TIMEOUT = 30.0  # seconds without one byte
TRIES = 5  # requests in a row that hardly brought anything, before the address is given up
ENOUGH = 8 << 20  # bytes after which a request counts as useful, and the tries start again
BACKOFF = 1.0  # seconds before the second try, doubled from then on
BLOCK = 1 << 20
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class _Broken(Exception):
    """Something passing went wrong: the same address is worth another request."""


def openai_url(sha256: str, filename: str) -> str:
    """OpenAI's address of a released file; `CLIPJAX_OPENAI_ENDPOINT` replaces the host and folder."""
    return f"{hub.endpoint('CLIPJAX_OPENAI_ENDPOINT', OPENAI_ENDPOINT)}/{sha256}/{quote(filename)}"


def release_path(filename: str, repositories: Sequence[str] = ()) -> Path | None:
    """Where a release lies, OpenAI's file or a repository's weights; by name only, nothing is read or fetched."""
    path = cache_dir() / filename
    if path.is_file():
        return path
    found = (hub.cached(Repository(name)) for name in repositories)
    return next((paths[-1] for paths in found if paths), None)


def fetch_release(
    name: str, filename: str, sha256: str, repositories: Sequence[str] = (), timeout: float = TIMEOUT
) -> Path:
    """Returns OpenAI's released file, or the folder of the first repository of the hub that stands in for it.

    Args:
        name: The released name, e.g. "ViT-B/32".
        filename: OpenAI's file name.
        sha256: Its digest, 64 hex digits, and a part of its address.
        repositories: Mirrors on the hub as "org/name", in order of preference.
        timeout: Seconds without a byte after which a connection counts as stalled, and is resumed.

    Raises:
        InputError: No source delivered, or the network is forbidden; one line with every reason and what to do.
    """
    root, url = cache_dir(), openai_url(sha256, filename)
    path, tried = root / filename, list[str]()
    with _cache_errors(root):
        if path.is_file():
            if (found := digest(path)) == sha256:
                return path
            tried.append(f"{path}: sha256 is {found[:12]}..., not {sha256[:12]}...")
        for repo in map(Repository, repositories):
            if hub.cached(repo):
                return _checked(hub.fetch(repo))
        if hub.is_offline():
            tried.append(hub.OFFLINE)
        else:
            try:
                return _obtain(url, path, sha256, timeout)
            except Unavailable as error:
                tried.append(f"{urlsplit(url).hostname}: {error}")
            for repo in map(Repository, repositories):
                try:
                    return _checked(hub.fetch(repo))
                except Unavailable as error:
                    tried.append(f"{repo}: {error}")
    mirrors = " or ".join(f"hf://{repo}" for repo in repositories)
    third = f"pass the hub mirror {mirrors}" if mirrors else "set CLIPJAX_OPENAI_ENDPOINT to a mirror you can reach"
    raise InputError(
        f"cannot get {name}: {'; '.join(tried)}. Three ways to get it: "
        f"(1) copy {filename} into {root}, or set CLIPJAX_CACHE to a folder that has it; "
        f"(2) download {url} on another machine and pass the file's path instead of {name}; (3) {third}"
    )


def fetch_hub(address: str) -> Path:
    """Returns the folder of "hf://org/name" or "hf://org/name@revision" in the hub's cache, downloaded if need be.

    Raises:
        InputError: It cannot be had, or its weights are not what the hub declared; one line with what to do.
    """
    repo = hub.repository(address)
    try:
        return _checked(hub.fetch(repo))
    except Unavailable as error:
        raise InputError(
            f"cannot get {repo}: {error}. Or download {hub.page(repo)} on another machine and pass the folder's path, "
            "or copy that machine's cache (HF_HOME), or set HF_ENDPOINT to a mirror of the hub"
        ) from error


def digest(path: Path) -> str:
    """sha256 of a file of a cache; not read again for it while its size and modification time are the same."""
    stamp, state = _stamp(path)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        known, _, of = stamp.read_text().partition(" ")
        if of == state:
            return known
    return _remember(path, _hash(path, f"verify {path.name}"))


def _stamp(path: Path) -> tuple[Path, str]:
    """Where a file's digest is kept, and the size and time that it holds for."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    state = path.stat()
    return cache_dir() / "verified" / name[:32], f"{state.st_size} {state.st_mtime_ns}"


def _remember(path: Path, sha256: str) -> str:
    stamp, state = _stamp(path)
    with contextlib.suppress(OSError, InputError):  # a cache that is read-only: its files are hashed each time
        stamp.parent.mkdir(parents=True, exist_ok=True)
        write_text(stamp, f"{sha256} {state}")
    return sha256


def _checked(paths: tuple[Path, ...]) -> Path:
    """The folder of files of the hub's cache whose bytes are the ones that the hub declared."""
    for path in paths:
        expected = hub.declared_sha256(path)
        if expected and (found := digest(path)) != expected:
            raise InputError(
                f"{path}: sha256 is {found[:12]}..., and the hub declared {expected[:12]}...; delete {path.resolve()} "
                "and try again"
            )
    return paths[0].parent


# --- OpenAI's address ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cache_errors(root: Path) -> Iterator[None]:
    """Turns what the file system refuses into one line; the network's errors never come this far."""
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename})" if error.filename else error.strerror or error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space and repeat (what has arrived is kept), or set CLIPJAX_CACHE to another disk"
        else:
            remedy = "set CLIPJAX_CACHE to a folder that can be written, or pass the path of a weights file"
        raise InputError(f"cannot use the cache {root}: {reason}; {remedy}") from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        # Without a limit: a process that died has lost its lock, and one that lives has a bounded number of tries.
        say(f"waiting for another process that is downloading {path.name}")
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, "its file system has no locks") from error
    try:
        yield
    finally:
        lock.release()


def _obtain(url: str, path: Path, sha256: str, timeout: float) -> Path:
    """Downloads a file, unless another process did so while this one waited for the lock.

    Raises:
        Unavailable: with the reason. OSError: the file system, never the network.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        if path.is_file() and digest(path) == sha256:
            return path
        partial = path.with_name(path.name + ".partial")
        tries, delivered = 0, False
        while True:
            before = _size(partial)
            try:
                _receive(url, partial, timeout)
                _check(partial, sha256, resumed=before > 0)
                os.replace(partial, path)
                _remember(path, sha256)
                return path
            except _Broken as error:
                gained = _size(partial) - before
                delivered |= gained > 0
                tries = 1 if gained >= ENOUGH else tries + 1
                unreachable = type(error.__cause__) is urllib.error.URLError
                if tries >= TRIES or (unreachable and not delivered):
                    raise Unavailable(f"{error} ({tries} times in a row)" if tries > 1 else str(error)) from error
                say(f"{urlsplit(url).hostname}: {error}; trying again")
                time.sleep(BACKOFF * 2 ** (tries - 1))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(partial: Path, sha256: str, resumed: bool) -> None:
    """Raises for bytes that are not the published ones, and removes them."""
    if (found := _hash(partial, f"verify {partial.stem}")) == sha256:
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # a power cut must not take back what is stamped as verified
        return
    partial.unlink()
    reason = f"sent a file whose sha256 is {found[:12]}..., not {sha256[:12]}..."
    # The first half may be at fault (a crash of this machine, another version by now): a clean start decides.
    raise _Broken(f"{reason}; starting anew") if resumed else Unavailable(reason)


def _hash(path: Path, stage: str) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file, Progress(stage, path.stat().st_size, "B") as progress:
        while block := file.read(BLOCK):
            hasher.update(block)
            progress.update(len(block))
    return hasher.hexdigest()


def _receive(url: str, partial: Path, timeout: float) -> None:
    """Asks once, for what is missing, and appends it; the whole where the server has no ranges."""
    headers = {"User-Agent": "clipjax", "Accept-Encoding": "identity"}
    if offset := _size(partial):
        headers["Range"] = f"bytes={offset}-"
    with _open(urllib.request.Request(url, headers=headers), timeout) as response:
        if response.status == 416:
            return  # nothing follows the part we have: its sha256 says whether it is the whole
        if response.status != 206:
            offset = 0
        total = None if response.length is None else offset + response.length
        _check_space(partial, response.length or 0, offset)
        stage = f"download {partial.stem}"
        with partial.open("ab" if offset else "wb") as file, Progress(stage, total, "B", start=offset) as progress:
            while block := _read(response):
                file.write(block)
                progress.update(len(block))
    if total is not None and (arrived := _size(partial)) < total:
        raise _Broken(f"closed the connection after {arrived} of {total} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http(s), and never from https down to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            reason = f"redirect to {new.scheme}://{new.hostname} refused"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request, timeout: float) -> Any:
    try:
        return urllib.request.build_opener(_Redirects()).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        with error:
            kind = _Broken if error.code in _TRANSIENT else Unavailable
            raise kind(f"{error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Broken(f"cannot connect ({_reason(error.reason)})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _read(response: Any) -> bytes:
    # read1 and not read: what came before a stall is returned, not lost with the exception.
    try:
        return response.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _check_space(partial: Path, remaining: int, offset: int) -> None:
    free = shutil.disk_usage(partial.parent).free + _size(partial) - offset  # a fresh start gives the old part back
    if remaining > free:
        raise InputError(
            f"{partial.parent} has {free / 1e6:.0f} MB free and {partial.stem} needs {remaining / 1e6:.0f} MB more; "
            "free some space and repeat (what has arrived is kept), or set CLIPJAX_CACHE to another disk"
        )
