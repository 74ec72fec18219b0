"""Models of the Hugging Face hub, by its own library and in its own cache: what another program fetched is used.

`HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what they mean there. The library is
imported where it is needed: it takes 0.2 s, and most commands read a local file.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import clipjax
from clipjax.errors import InputError, one_line
from clipjax.progress import is_quiet, say

# Nothing is sent but the request itself (SECURITY.md); unset, the library asks the hub which programs to look for in
# the environment, and names them in its requests.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# What a repository of CLIP weights may hold, as (required, optional) files; the first complete one is taken.
# open_clip's layout comes first because the timm repositories also have a config.json with a model.safetensors,
# which are timm's and hold the image encoder alone.
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.model",
)  # see clipjax.text
_BESIDE = ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "vocab.json", *_TOKENIZERS)
LAYOUTS = (
    (("open_clip_config.json", "open_clip_model.safetensors"), _TOKENIZERS),
    (("open_clip_config.json", "open_clip_pytorch_model.bin"), _TOKENIZERS),
    (("config.json", "model.safetensors"), _BESIDE),
    (("config.json", "pytorch_model.bin"), _BESIDE),
)
OFFLINE = "not in the cache, and CLIPJAX_OFFLINE or HF_HUB_OFFLINE forbids the network"
_CONFIG_BYTES = 1 << 20  # of a config.json that are looked at


class Unavailable(Exception):
    """This source does not give the weights; the text is the reason."""


class Repository(NamedTuple):
    """A model of the hub; `revision` is a branch, a tag or a commit."""

    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision != "main" else "")


def is_offline() -> bool:
    """Whether `CLIPJAX_OFFLINE` or `HF_HUB_OFFLINE` forbids the network."""
    values = [os.environ.get(name, "") for name in ("CLIPJAX_OFFLINE", "HF_HUB_OFFLINE")]
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in values)


def endpoint(variable: str, default: str) -> str:
    """The address that an environment variable gives in place of `default`, without a slash at its end."""
    value = (os.environ.get(variable) or default).strip().rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # an impossible port, an open bracket
        valid = False
    if not valid:
        raise InputError(f"{variable}={value!r} is not an address: give one that starts with https://")
    return value


def repository(address: str) -> Repository:
    """The repository of "hf://org/name" or "hf://org/name@revision". Raises InputError for anything else."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name, at, revision = address.removeprefix("hf://").strip("/").partition("@")
    try:
        validate_repo_id(name)
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
            raise HFValidationError("one organisation, one name")
    except HFValidationError as error:
        what = f"is not a repository of the hub ({one_line(error)})"
        raise InputError(f"{address}: {what}; give hf://org/name") from error
    if at and (not re.fullmatch(r"\w[\w./-]*", revision, re.ASCII) or ".." in revision):
        raise InputError(f"{address}: {revision!r} is not a revision; give a branch, a tag or a commit after the @")
    return Repository(name, revision) if at else Repository(name)


def page(repo: Repository) -> str:
    """Where a reader finds the repository's files."""
    return f"{endpoint('HF_ENDPOINT', 'https://huggingface.co')}/{repo.name}/tree/{repo.revision}"


def cached(repo: Repository) -> tuple[Path, ...] | None:
    """The required files of the first layout that the hub's cache has completely, the weights last; never a request."""
    from huggingface_hub import try_to_load_from_cache

    for required, _ in LAYOUTS:
        found = [try_to_load_from_cache(repo.name, filename, revision=repo.revision) for filename in required]
        paths = tuple(Path(path) for path in found if isinstance(path, str))
        if len(paths) == len(required) and (required[0] != "config.json" or _is_transformers(paths[0])):
            return paths
    return None


def every_cached() -> Iterator[tuple[Repository, tuple[Path, ...]]]:
    """The repositories in the hub's cache that hold weights of a layout that is read, and their files."""
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        for ref in sorted(path for path in (folder / "refs").glob("*") if path.is_file()):
            repo = Repository(name, ref.name)
            if (paths := cached(repo)) is not None:
                yield repo, paths


def fetch(repo: Repository) -> tuple[Path, ...]:
    """The files of `cached`, downloaded where they are not there.

    Raises:
        Unavailable: with the reason, and its remedy where there is one.
    """
    found = cached(repo)
    if found is not None and (is_offline() or _says_preprocessing(found)):
        return found
    if is_offline():
        raise Unavailable(OFFLINE)
    try:
        return _download(repo)
    except Unavailable:
        if found is None:
            raise
        return found


def _says_preprocessing(found: tuple[Path, ...]) -> bool:
    """Whether the snapshot has its preprocessing too: a program that needs the text encoder alone does not fetch it."""
    beside = found[0].with_name("preprocessor_config.json"), found[0].with_name("processor_config.json")
    return found[0].name == "open_clip_config.json" or any(path.is_file() for path in beside)


def _download(repo: Repository) -> tuple[Path, ...]:
    from huggingface_hub import HfApi, constants, errors
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """The library's own bars, on a terminal only."""

        def __init__(self, *args, **options):
            super().__init__(*args, **options | {"disable": is_quiet() or not sys.stderr.isatty()})

    api = HfApi(
        endpoint("HF_ENDPOINT", constants.ENDPOINT), library_name="clipjax", library_version=clipjax.__version__
    )
    try:
        info = api.model_info(repo.name, revision=repo.revision)
        files, optional = _layout(repo, {file.rfilename for file in info.siblings or ()})
        if cached(repo) is None:
            say(f"download {repo} into {constants.HF_HUB_CACHE}")
        folder = Path(
            api.snapshot_download(
                repo.name, revision=repo.revision, allow_patterns=[*files, *optional], tqdm_class=Bar,
                cache_dir=constants.HF_HUB_CACHE,
            )
        )  # fmt: skip
        return tuple(folder / filename for filename in files)
    # The library lets through what its HTTP client raises, whose common class it has in `errors`; and a token that is
    # no header is a ValueError of that client.
    except (OSError, errors.HTTPError, ValueError) as error:
        raise Unavailable(_reason(error, repo)) from error


def declared_sha256(path: Path) -> str | None:
    """The sha256 that the hub declared for a file of its cache, or None.

    The cache names a large file's bytes by their sha256, and a snapshot links to them; a small one's name is a git
    hash, and file systems without links do not keep the name.
    """
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


def _is_transformers(config: Path) -> bool:
    """Whether a config.json is transformers' own; timm's, of the same name, lies beside an image encoder alone."""
    with config.open("rb") as file:
        return b'"model_type"' in file.read(_CONFIG_BYTES)


def _layout(repo: Repository, there: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for required, optional in LAYOUTS:
        if all(filename in there for filename in required):
            return required, optional
    choices = "; or ".join(" and ".join(required) for required, _ in LAYOUTS)
    raise Unavailable(f"the repository does not have {choices} at revision {repo.revision}")


def _reason(error: Exception, repo: Repository) -> str:
    """What went wrong, in a part of one line; with the remedy where the hub or the disk is known to have one."""
    from huggingface_hub import constants, errors

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror} in {constants.HF_HUB_CACHE}: free some space, or set HF_HUB_CACHE to another disk"
    if isinstance(error, errors.GatedRepoError):
        return f"gated: accept its terms at {page(repo).partition('/tree/')[0]} and set HF_TOKEN to a token of yours"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"404, the repository has no revision {repo.revision}"
    if isinstance(error, errors.HfHubHTTPError):
        status = f"{error.response.status_code} {error.response.reason_phrase}"
        if error.response.status_code in (401, 403, 404):  # the hub gives 401 for names that do not exist, too
            status += " (check the name; a private or gated repository needs a valid HF_TOKEN)"
        return status
    if isinstance(error, errors.OfflineModeIsEnabled):
        return OFFLINE
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror} ({error.filename}): set HF_HUB_CACHE to a folder that can be written"
    return one_line(error.__cause__ or error)
