"""Released weights by name: from the cache, else from the first source that gives the right bytes.

A file that was downloaded has its final name in the cache only when its sha256 is right (transfer.py).
`FILENAME.stamp` remembers which size and modification time were hashed, and `FILENAME.sha256` is the digest seen
first where upstream publishes none.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from clipjax.errors import InputError
from clipjax.files import cache_dir as cache_dir
from clipjax.progress import say
from clipjax.transfer import Failed, Missing, WrongBytes, hash_file, receive

OPENAI_ENDPOINT = "https://openaipublic.azureedge.net/clip/models"
HF_ENDPOINT = "https://huggingface.co"
# What a repository of CLIP weights may hold, as (required, optional) files; the first complete one is taken.
# open_clip's layout comes first because the timm repositories also have a config.json with a model.safetensors,
# which are timm's and hold the image tower alone. Weights come last in a row: a repository that lacks the small
# file is found out before the large one is fetched, and a cached large one means that its row is whole.
_BESIDE = ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "vocab.json")
HUB_LAYOUTS = (
    (("open_clip_config.json", "open_clip_model.safetensors"), ()),
    (("open_clip_config.json", "open_clip_pytorch_model.bin"), ()),
    (("config.json", "model.safetensors"), _BESIDE),
    (("config.json", "pytorch_model.bin"), _BESIDE),
)

TIMEOUT = 30.0  # seconds without one byte

_Layouts = Sequence[tuple[Sequence[str], Sequence[str]]]


@dataclass(frozen=True)
class Source:
    """One place that has a file.

    Attributes:
        url: An http(s) address.
        filename: Its path inside the cache, with "/" between folders.
        sha256: 64 hex digits; None only when upstream publishes none: then the digest seen first is kept
            beside the file and holds from then on.
    """

    url: str
    filename: str
    sha256: str | None


def is_offline() -> bool:
    """Whether `CLIPJAX_OFFLINE` or `HF_HUB_OFFLINE` forbids the network."""
    values = [os.environ.get(name, "") for name in ("CLIPJAX_OFFLINE", "HF_HUB_OFFLINE")]
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in values)


def openai_url(sha256: str, filename: str) -> str:
    """OpenAI's address of a released file; `CLIPJAX_OPENAI_ENDPOINT` replaces the host and folder."""
    return f"{_endpoint('CLIPJAX_OPENAI_ENDPOINT', OPENAI_ENDPOINT)}/{sha256}/{quote(filename)}"


def hub_url(repo: str, filename: str, revision: str = "main") -> str:
    """The address of one file of a Hugging Face repository; `HF_ENDPOINT` replaces the host."""
    _check_repo(repo)
    return f"{_endpoint('HF_ENDPOINT', HF_ENDPOINT)}/{repo}/resolve/{quote(revision, safe='')}/{quote(filename)}"


def cached_path(sources: Sequence[Source], cache: Path | None = None) -> Path | None:
    """Where the cache has a file of one of `sources`, by name only: nothing is read, hashed or fetched."""
    root = cache_dir() if cache is None else Path(cache)
    paths = (_target(root, source.filename) for source in sources)
    return next((path for path in paths if path.is_file()), None)


def fetch(name: str, sources: Sequence[Source], cache: Path | None = None, timeout: float = TIMEOUT) -> Path:
    """Returns the path of a verified file: the cached one, else from the first of `sources` that delivers.

    Args:
        name: What the user asked for; it is named in messages.
        sources: Tried in order. A source whose file is in the cache is used without the network.
        cache: Folder of the cache; `cache_dir()` when None.
        timeout: Seconds without a byte after which a connection counts as stalled, and is resumed.

    Raises:
        InputError: No source delivered, or the network is forbidden; one line with every reason and what to do.
    """
    root = cache_dir() if cache is None else Path(cache)
    tried: list[str] = []
    with _cache_errors(root):
        if (path := _cached(root, sources, tried)) is not None:
            return path
        for source in [] if _forbidden(tried) else sources:
            try:
                return _obtain(source, root, timeout)
            except Failed as error:
                tried.append(f"{_host(source.url)}: {error}")
    names = " or ".join(dict.fromkeys(source.filename for source in sources))
    repos = [found[1] for source in sources if (found := re.search(r"//[^/]+/(.+)/resolve/", source.url))]
    raise InputError(_advice(name, tried, root, names, sources[0].url, repos))


def digest(path: Path) -> str:
    """sha256 of a file of the cache; not read again for it where its stamp says which bytes were verified."""
    return _stamped(path, path.stat()) or hash_file(path, f"hash {path.name}").hexdigest()


def fetch_release(
    name: str,
    filename: str,
    sha256: str,
    hub: Sequence[str] = (),
    cache: Path | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Returns OpenAI's released file, or the folder of the first hub repository that stands in for it.

    Args:
        name: The released name, e.g. "ViT-B/32".
        filename: OpenAI's file name; `sha256` is its digest and a part of its address.
        sha256: 64 hex digits.
        hub: Mirrors as "org/name", in order of preference (`HUB_LAYOUTS` says what they may hold).
        cache: As in `fetch`.
        timeout: As in `fetch`.

    Raises:
        InputError: As in `fetch`.
    """
    root = cache_dir() if cache is None else Path(cache)
    source = Source(openai_url(sha256, filename), filename, sha256)
    tried: list[str] = []
    with _cache_errors(root):
        if (path := _cached(root, [source], tried)) is not None:
            return path
        for repo in hub:
            if (path := _cached_repo(root, repo, "main", HUB_LAYOUTS, tried)) is not None:
                return path
        if not _forbidden(tried):
            try:
                return _obtain(source, root, timeout)
            except Failed as error:
                tried.append(f"{_host(source.url)}: {error}")
            for repo in hub:
                try:
                    return _obtain_repo(root, repo, "main", HUB_LAYOUTS, timeout)
                except Failed as error:
                    tried.append(f"{_host(hub_url(repo, ''))} {repo}: {error}")
    raise InputError(_advice(name, tried, root, filename, source.url, hub))


def release_path(filename: str, sha256: str, hub: Sequence[str] = (), cache: Path | None = None) -> Path | None:
    """Where the cache has a release, OpenAI's file or a mirror's weights; by name only, nothing is read or fetched."""
    root = cache_dir() if cache is None else Path(cache)
    sources = [Source(openai_url(sha256, filename), filename, sha256)]
    sources += [_hub_source(repo, "main", required[-1]) for repo in hub for required, _ in HUB_LAYOUTS]
    return cached_path(sources, root)


def fetch_hub(
    repo: str,
    filenames: Sequence[str],
    optional: Sequence[str] = (),
    revision: str = "main",
    cache: Path | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Returns a folder of the cache with `filenames` of a Hugging Face repository, "org/name".

    Files of `optional` that the repository does not have are passed over. When all of `filenames` are cached
    nothing is asked of the network. `HF_TOKEN` is sent to the host of `HF_ENDPOINT` and to no other.

    Raises:
        InputError: As in `fetch`.
    """
    return _fetch_repo(repo, [(filenames, optional)], revision, cache, timeout)


def fetch_hub_model(repo: str, revision: str = "main", cache: Path | None = None, timeout: float = TIMEOUT) -> Path:
    """`fetch_hub` for `hf://org/name`: the first of `HUB_LAYOUTS` that the repository has completely."""
    return _fetch_repo(repo, HUB_LAYOUTS, revision, cache, timeout)


def _fetch_repo(repo: str, layouts: _Layouts, revision: str, cache: Path | None, timeout: float) -> Path:
    root = cache_dir() if cache is None else Path(cache)
    tried: list[str] = []
    url = hub_url(repo, "", revision)
    with _cache_errors(root):
        if (path := _cached_repo(root, repo, revision, layouts, tried)) is not None:
            return path
        if not _forbidden(tried):
            try:
                return _obtain_repo(root, repo, revision, layouts, timeout)
            except Failed as error:
                tried.append(f"{_host(url)}: {error}")
    names = ", or ".join(" and ".join(required) for required, _ in layouts)
    folder = root / _repo_folder(repo, revision)
    page = url.replace("/resolve/", "/tree/").rstrip("/")
    raise InputError(
        f"cannot get hf://{repo}: {'; '.join(tried)}. Three ways to get it: "
        f"(1) copy {names} into {folder}, or set CLIPJAX_CACHE to a folder that has {_repo_folder(repo, revision)}; "
        f"(2) download {page} on another machine and pass the folder's path instead of hf://{repo}; "
        f"(3) set HF_ENDPOINT to a mirror of the hub that this machine can reach"
    )


def _advice(name: str, tried: Sequence[str], root: Path, filename: str, url: str, repos: Sequence[str]) -> str:
    if repos:
        mirrors = " or ".join(f"hf://{repo}" for repo in dict.fromkeys(repos))
        third = f"pass the hub mirror {mirrors} ({hub_url(repos[0], '').split('/resolve/')[0]})"
    else:
        third = "set CLIPJAX_OPENAI_ENDPOINT or HF_ENDPOINT to a mirror that this machine can reach"
    text = (
        f"cannot get {name}: {'; '.join(tried)}. Three ways to get it: "
        f"(1) copy {filename} into {root}, or set CLIPJAX_CACHE to a folder that has it; "
        f"(2) download {url} on another machine and pass the file's path instead of {name}; (3) {third}"
    )
    return " ".join(text.split())


def _forbidden(tried: list[str]) -> bool:
    if is_offline():
        tried.append("not in the cache, and CLIPJAX_OFFLINE or HF_HUB_OFFLINE forbids the network")
    return is_offline()


# --- the cache -------------------------------------------------------------------------------------------------


def _target(root: Path, filename: str) -> Path:
    path = PurePosixPath(filename)
    if path.is_absolute() or ".." in path.parts or "\\" in filename or not path.name:
        raise InputError(f"{filename!r} is no file name inside the cache: give a relative path without '..'")
    return root / path


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


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


def _cached(root: Path, sources: Sequence[Source], tried: list[str]) -> Path | None:
    for source in sources:
        path = _target(root, source.filename)
        if path.is_file():
            wrong = _wrong(path, source.sha256)
            if wrong is None:
                return path
            tried.append(f"{path}: {wrong}")
    return None


def _wrong(path: Path, published: str | None) -> str | None:
    """Why the cached file may not be used, or None.

    Hashing a gigabyte takes seconds, so it is done once: the stamp says which size and modification time had
    which digest. That guards against damage and mix-ups, not against somebody who can write to the cache.
    """
    state = path.stat()
    digest = _stamped(path, state)
    if digest is None:
        digest = hash_file(path, f"verify {path.name}").hexdigest()
        # A cache that is shared read-only has no stamps; its files are hashed each time.
        with contextlib.suppress(OSError):
            _stamp(path, digest, state)
    expected = published or _recorded(path)
    if expected is None:
        with contextlib.suppress(OSError):
            _write_whole(_beside(path, ".sha256"), f"{digest}  {path.name}\n")
        return None
    return None if digest == expected else f"sha256 is {digest[:12]}..., not {expected[:12]}..."


def _recorded(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = re.match(r"[0-9a-f]{64}\b", _beside(path, ".sha256").read_text())
        return found[0] if found else None
    return None


def _stamped(path: Path, state: os.stat_result) -> str | None:
    try:
        stamp = json.loads(_beside(path, ".stamp").read_text())
        return stamp["sha256"] if stamp["size"] == state.st_size and stamp["mtime_ns"] == state.st_mtime_ns else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _stamp(path: Path, digest: str, state: os.stat_result) -> None:
    text = json.dumps({"sha256": digest, "size": state.st_size, "mtime_ns": state.st_mtime_ns})
    _write_whole(_beside(path, ".stamp"), text + "\n")


def _write_whole(path: Path, text: str) -> None:
    temporary = _beside(path, f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = FileLock(_beside(path, ".lock"))
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


def _obtain(source: Source, root: Path, timeout: float) -> Path:
    """Downloads one file, unless another process did so while this one waited for the lock."""
    path = _target(root, source.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        if path.is_file() and _wrong(path, source.sha256) is None:
            return path
        recorded = _beside(path, ".sha256")
        try:
            expected = source.sha256 or _recorded(path)
            digest = receive(source.url, path, expected, timeout, _authorization(source.url))
        except WrongBytes as error:
            if source.sha256 is None and recorded.is_file():
                raise Failed(f"{error}, which {recorded} has from the first time; delete that to accept it") from error
            raise
        _stamp(path, digest, path.stat())
        if source.sha256 is None:
            _write_whole(recorded, f"{digest}  {path.name}\n")
        return path


# --- the hub ---------------------------------------------------------------------------------------------------


def _endpoint(variable: str, default: str) -> str:
    value = (os.environ.get(variable) or default).strip().rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # an impossible port, an open bracket
        valid = False
    if not valid:
        raise InputError(f"{variable}={value!r} is no address: give one that starts with https://")
    return value


def _host(url: str) -> str:
    # Never the part before an "@": that would put a password into a message.
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _authorization(url: str) -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token or _origin(url) != _origin(_endpoint("HF_ENDPOINT", HF_ENDPOINT)):
        return {}
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise InputError("HF_TOKEN has characters that no token has (a space or a line break?): set it again")
    return {"Authorization": f"Bearer {token}"}


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _check_repo(repo: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo, re.ASCII) or ".." in repo:
        raise InputError(f"{repo!r} is no repository of the hub: give org/name")


def _repo_folder(repo: str, revision: str) -> str:
    _check_repo(repo)
    if not re.fullmatch(r"\w[\w./-]*", revision, re.ASCII) or ".." in revision:
        raise InputError(f"{revision!r} is no revision of {repo}: give a branch, a tag or a commit")
    return f"hub/{repo.replace('/', '--')}/{revision.replace('/', '--')}"


def _hub_source(repo: str, revision: str, filename: str) -> Source:
    path = f"{_repo_folder(repo, revision)}/{filename}"
    return Source(hub_url(repo, filename, revision), path, None)


def _cached_repo(root: Path, repo: str, revision: str, layouts: _Layouts, tried: list[str]) -> Path | None:
    """The folder, when the cache has every required file of one layout."""
    for required, _ in layouts:
        sources = [_hub_source(repo, revision, filename) for filename in required]
        if all(_target(root, source.filename).is_file() for source in sources) and all(
            _cached(root, [source], tried) for source in sources
        ):
            return root / _repo_folder(repo, revision)
    return None


def _obtain_repo(root: Path, repo: str, revision: str, layouts: _Layouts, timeout: float) -> Path:
    missing: set[str] = set()
    for required, optional in layouts:
        if missing & set(required):
            continue
        # The last required file is the large one; when it is in the cache the optional ones were asked for.
        for filename in (*required[:-1], *optional, required[-1]):
            if filename in missing:
                continue
            try:
                _obtain(_hub_source(repo, revision, filename), root, timeout)
            except Missing:
                missing.add(filename)
                if filename not in optional:
                    break
        else:
            return root / _repo_folder(repo, revision)
    lacking = dict.fromkeys(name for required, _ in layouts for name in required if name in missing)
    raise Missing(f"404, the repository does not have {' or '.join(lacking)} at revision {revision}")
