"""Every pair of open_clip's registry as a configuration file: which ones clipjax reads, and why it refuses the others.

    python experiments/registry/run.py [--adapter]

Needs the extra [peers]; no weights and no network. For every (architecture, tag) of the installed open_clip, the script
writes open_clip_config.json as for the hub, with the registry's QuickGELU, and reads it with
`checkpoints_convert.open_clip.read_config`. Where it is read, open_clip builds the architecture on torch's meta device,
and every tensor of its state dict must find its place, by name and shape, in clipjax's model: `tensors` counts them,
`parameters` are the peer's, and `ours` those of clipjax, which differ where `note` says why. Where it is refused, the
attributes that the refusal names are checked: with all of them removed the file must be read (none is missing), and
with all but one removed it must be refused (each is a reason). What is refused goes through the adapter of
docs/other-models.md (adapter.py): with --adapter now, else as results/adapter.csv has it. Writes results/pairs.csv and
results/summary.md.
"""

from __future__ import annotations

import argparse
import copy
import csv
import datetime
import functools
import importlib.metadata
import json
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "tests"), str(HERE)]

import adapter  # noqa: E402
import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import torch  # noqa: E402
from support.peer_registry import hub_file  # noqa: E402

from checkpoints_convert import dialects, rules  # noqa: E402
from checkpoints_convert.open_clip import read_config  # noqa: E402
from clipjax.errors import InputError  # noqa: E402
from clipjax.models import shapes  # noqa: E402
from clipjax.models.config import CLIP  # noqa: E402

FIELDS = ("architecture", "tag", "alias", "read", "parameters", "ours", "tensors", "note", "reasons", "complete",
          "each_is_one", "message")  # fmt: skip
PLACES = ("model_cfg", "vision_cfg", "text_cfg", "multimodal_cfg", "preprocess_cfg")
HEAD = """# open_clip's registry as configuration files

open_clip_torch {version}, {date}. {pairs} pairs, of which {aliases} are `-quickgelu` aliases of a pair that is also
listed under the plain name: {distinct} distinct ones. **{read} of them are read**, and in {fit} of these every
tensor of open_clip's model has its place in clipjax's, by name and shape. {refused} are refused. In {complete}
of the {refused} refusals the named attributes are all there are (without them the file is read); in {each} each of
them alone is reason enough. {adapted} of the {refused} run as `py:` models through the adapter of
docs/other-models.md, with random weights: `images` and `texts` are the largest difference between what clipjax gets
and open_clip's own call, of the largest value.{left}

| attribute | pairs that are refused for it |
|---|---|
"""


def refusal(data: dict[str, Any], folder: Path) -> str:
    """What `read_config` says of the file, "" where it reads it."""
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(data))
    try:
        read_config(folder)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def attributes(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """(dict, key) of every attribute of a file, wherever it lies."""
    for place in (data, data["model_cfg"], *(data["model_cfg"].get(p) for p in PLACES), data["preprocess_cfg"]):
        if isinstance(place, dict):
            yield from ((place, key) for key in list(place) if key not in ("vision_cfg", "text_cfg", *data))


def named(data: dict[str, Any], message: str) -> list[str]:
    """The attributes of the file that the message names, as `text_cfg.pool_type` and the like."""
    return sorted({key for _, key in attributes(data)} & set(re.findall(r"\b[a-z]+_cfg\.(\w+)", message)))


def without(data: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """The file without these attributes; the patch size of a timm encoder goes with its name, so its image size too."""
    data = copy.deepcopy(data)
    keys = [*keys, "image_size"] if "timm_model_name" in keys else keys
    for place, key in list(attributes(data)):
        if key in keys:
            del place[key]
    return data


def fit(architecture: str, config: CLIP) -> dict[str, Any]:
    """open_clip's model on the meta device against our configuration: counts, and where they differ the reason."""
    with torch.device("meta"):
        model = open_clip.create_model(architecture, pretrained=None, device="meta")
    state = {name: broadcast(tensor) for name, tensor in model.state_dict().items() if "attn_mask" not in name}
    flat, unknown = rules.to_native(dialects.of(state), state, architecture)
    shapes.check(config, flat, architecture, unknown)
    ours = sum(math.prod(shape) for name, shape in shapes.shapes(config).items() if "running_" not in name)
    theirs = sum(p.numel() for p in model.parameters())
    return {"parameters": theirs, "ours": ours, "tensors": len(state), "note": why(model, ours - theirs)}


def broadcast(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of this shape that takes no memory; statistics of norms are not 0, which would divide by 0."""
    return np.broadcast_to(np.ones((), np.float32), tuple(tensor.shape))


def why(model: torch.nn.Module, difference: int) -> str:
    """What makes our count another: parameters that no feature depends on, and those that conversion joins."""
    counts = {name: p.numel() for name, p in model.named_parameters()}
    left_out = {
        "text decoder": -sum(n for name, n in counts.items() if name.startswith("text_decoder.")),
        "further queries": -sum(n - p.shape[1] for name, p in model.named_parameters() if name.endswith("pool.query")
                                for n in [p.numel()]),
        "BatchNorm folded": -sum(n for name, n in counts.items() if name.endswith(".bn.weight")),
        "zeros for the bias of k": sum(n for name, n in counts.items()
                                       if name.endswith((".attn.q_bias", ".attn.q_proj.bias"))),
    }  # fmt: skip
    assert sum(left_out.values()) == difference, (left_out, difference)
    return "; ".join(f"{n:+,} {what}" for what, n in left_out.items() if n)


def judge(architecture: str, tag: str, pairs: set[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """One row of the table."""
    data = hub_file(architecture, tag)
    message = refusal(data, folder)
    reasons = named(data, message)
    alone = [refusal(without(data, [r for r in reasons if r != reason]), folder) for reason in reasons]
    plain = architecture.removesuffix("-quickgelu")
    alias = plain != architecture and (plain, tag) in pairs
    found = {} if message or alias else fitting(architecture, folder)
    return {
        "architecture": architecture, "tag": tag, "alias": alias, **found,
        "read": not message, "reasons": " ".join(reasons), "message": message,
        "complete": bool(reasons) and not refusal(without(data, reasons), folder) if message else "",
        "each_is_one": bool(reasons) and all(alone) if message else "",
    }  # fmt: skip


def runs(adapted: dict[str, dict[str, Any]], row: dict[str, Any]) -> bool:
    """Whether the pair's architecture ran through the adapter."""
    return bool(adapted.get(row["architecture"], {}).get("parameters"))


def through(adapted: dict[str, dict[str, Any]], row: dict[str, Any]) -> str:
    """What the table says of a pair that is refused."""
    if runs(adapted, row):
        found = adapted[row["architecture"]]
        return f"adapter: images {float(found['image']):.0e}, texts {float(found['text']):.0e}"
    return f"refused; adapter {adapted.get(row['architecture'], {}).get('message') or 'not run'}"


def left(adapted: dict[str, dict[str, Any]], refused: list[dict[str, Any]]) -> str:
    """The architectures that did not run, in a sentence; "" where all did."""
    names = sorted({row["architecture"] for row in refused if not runs(adapted, row)})
    return f" Not run: {', '.join(names)}." if names else ""


@functools.cache
def fitting(architecture: str, folder: Path) -> dict[str, Any]:
    """`fit` of the file that lies in the folder: once for each architecture."""
    return fit(architecture, read_config(folder)[0])


def summary(rows: list[dict[str, Any]], adapted: dict[str, dict[str, Any]]) -> str:
    """The page: what is read and refused, and a line for each architecture and what is said of it."""
    distinct = [row for row in rows if not row["alias"]]
    refused = [row for row in distinct if not row["read"]]
    reasons = Counter(reason for row in refused for reason in row["reasons"].split())
    text = HEAD.format(
        version=importlib.metadata.version("open_clip_torch"), date=datetime.datetime.now(datetime.UTC).date(),
        pairs=len(rows), aliases=len(rows) - len(distinct), distinct=len(distinct), refused=len(refused),
        read=len(distinct) - len(refused), fit=sum("tensors" in row for row in distinct),
        complete=sum(row["complete"] for row in refused),
        each=sum(row["each_is_one"] for row in refused),
        adapted=sum(runs(adapted, row) for row in refused), left=left(adapted, refused),
    )  # fmt: skip
    text += "".join(f"| {reason} | {count} |\n" for reason, count in reasons.most_common())
    text += "\n| architecture | tags | parameters | here | refused for |\n|---|---|---:|---|---|\n"
    by_row: dict[tuple[str, ...], list[str]] = {}
    for row in distinct:
        count = row["parameters"] if row["read"] else adapted.get(row["architecture"], {}).get("parameters")
        here = (row["note"] or "the same") if row["read"] else through(adapted, row)
        key = row["architecture"], f"{int(count):,}" if count else "", here, row["reasons"]
        by_row.setdefault(key, []).append(row["tag"])
    for (architecture, count, here, why_not), tags in by_row.items():
        text += f"| {architecture} | {', '.join(tags)} | {count} | {here} | {why_not.replace(' ', ', ')} |\n"
    return text


def main() -> None:
    """Judges every pair and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", action="store_true", help="run what is refused through the adapter: hours")
    if parser.parse_args().adapter:
        adapter.measure(adapter.refused())
    pairs = [tuple(pair) for pair in open_clip.list_pretrained()]
    with tempfile.TemporaryDirectory() as folder:
        rows = [judge(*pair, set(pairs), Path(folder)) for pair in pairs]
    (HERE / "results").mkdir(exist_ok=True)
    with open(HERE / "results" / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    text = summary(rows, adapter.stored())
    (HERE / "results" / "summary.md").write_text(text)
    print(text.split("\n\n")[1])


if __name__ == "__main__":
    main()
