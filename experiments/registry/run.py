"""Every pair of open_clip's registry as a configuration file: which ones clipjax reads, and why it refuses the others.

    python experiments/registry/run.py

Needs the extra [peers]; no weights and no network. For every (architecture, tag) of the installed open_clip, the script
writes open_clip_config.json as for the hub, with the registry's QuickGELU, and reads it with
`checkpoints_convert.open_clip.read_config`. Then it checks the attributes that a refusal names: with all of them
removed the file must be read (none is missing), and with all but one removed it must be refused (each is a reason).
Writes results/pairs.csv and results/summary.md.
"""

from __future__ import annotations

import copy
import csv
import datetime
import importlib.metadata
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import open_clip  # noqa: E402
from open_clip.pretrained import get_pretrained_cfg  # noqa: E402
from open_clip.transform import PreprocessCfg, merge_preprocess_dict  # noqa: E402

from checkpoints_convert.open_clip import read_config  # noqa: E402
from clipjax.errors import InputError  # noqa: E402

FIELDS = ("architecture", "tag", "alias", "read", "reasons", "complete", "each_is_one", "message")
PLACES = ("model_cfg", "vision_cfg", "text_cfg", "multimodal_cfg", "preprocess_cfg")
HEAD = """# open_clip's registry as configuration files

open_clip_torch {version}, {date}. {pairs} pairs, of which {aliases} are `-quickgelu` aliases of a pair that is also
listed under the plain name: {distinct} distinct ones. **{read} of them are read**, {refused} are refused. In {complete}
of the {refused} refusals the named attributes are all there are (without them the file is read); in {each} each of
them alone is reason enough.

| attribute | pairs that are refused for it |
|---|---|
"""


def hub_file(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip_config.json of a pair."""
    model, pretrained = open_clip.get_model_config(architecture), get_pretrained_cfg(architecture, tag)
    if pretrained.get("quick_gelu"):
        model["quick_gelu"] = True
    pixels = merge_preprocess_dict(PreprocessCfg(), pretrained)
    kept = {key: pixels[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return {"model_cfg": model, "preprocess_cfg": kept}


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


def judge(architecture: str, tag: str, pairs: set[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """One row of the table."""
    data = hub_file(architecture, tag)
    message = refusal(data, folder)
    reasons = named(data, message)
    alone = [refusal(without(data, [r for r in reasons if r != reason]), folder) for reason in reasons]
    plain = architecture.removesuffix("-quickgelu")
    return {
        "architecture": architecture, "tag": tag, "alias": plain != architecture and (plain, tag) in pairs,
        "read": not message, "reasons": " ".join(reasons), "message": message,
        "complete": bool(reasons) and not refusal(without(data, reasons), folder) if message else "",
        "each_is_one": bool(reasons) and all(alone) if message else "",
    }  # fmt: skip


def main() -> None:
    """Judges every pair and writes both files."""
    pairs = [tuple(pair) for pair in open_clip.list_pretrained()]
    with tempfile.TemporaryDirectory() as folder:
        rows = [judge(*pair, set(pairs), Path(folder)) for pair in pairs]
    (HERE / "results").mkdir(exist_ok=True)
    with open(HERE / "results" / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    distinct = [row for row in rows if not row["alias"]]
    refused = [row for row in distinct if not row["read"]]
    counts = Counter(reason for row in refused for reason in row["reasons"].split())
    text = HEAD.format(
        version=importlib.metadata.version("open_clip_torch"), date=datetime.datetime.now(datetime.UTC).date(),
        pairs=len(rows), aliases=len(rows) - len(distinct), distinct=len(distinct), refused=len(refused),
        read=len(distinct) - len(refused), complete=sum(row["complete"] for row in refused),
        each=sum(row["each_is_one"] for row in refused),
    )  # fmt: skip
    text += "".join(f"| {reason} | {count} |\n" for reason, count in counts.most_common())
    text += "\n| architecture | tags | read | refused for |\n|---|---|---|---|\n"
    by_row: dict[tuple[str, ...], list[str]] = {}
    for row in distinct:
        by_row.setdefault((row["architecture"], "yes" if row["read"] else "no", row["reasons"]), []).append(row["tag"])
    for (architecture, read, reasons), tags in by_row.items():
        text += f"| {architecture} | {', '.join(tags)} | {read} | {reasons.replace(' ', ', ')} |\n"
    (HERE / "results" / "summary.md").write_text(text)
    print(text.split("\n\n")[1])


if __name__ == "__main__":
    main()
