"""Lines of results/CARD.jsonl -> the tables of results/CARD.md."""

from __future__ import annotations

from typing import Any


def render(records: list[dict[str, Any]]) -> str:
    """All parts that were measured, failures by name."""
    by = {
        part: [r for r in records if r["part"] == part and "failed" not in r] for part in {r["part"] for r in records}
    }
    first = records[0]
    used = {k: v for r in records for k, v in r["versions"].items() if k != "XLA_FLAGS"}
    out = [f"{first['card']}, {first['date']}: " + ", ".join(f"{k} {v}" for k, v in used.items()) + "."]
    for part, make in (
        ("features", _features), ("losses", _losses), ("encoders", _encoders), ("texts", _texts), ("updates", _updates),
        ("cudnn", _cudnn), ("ceilings", _ceilings), ("kernels", _kernels),
    ):  # fmt: skip
        if by.get(part):
            out += ["", f"## {part.capitalize()}", "", *make(by[part])]
    failed = [r for r in records if "failed" in r]
    if failed:
        out += ["", "## Failed", "", *(f"- {r['part']}, {r['case']}: {r['failed']}" for r in failed)]
    return "\n".join(out) + "\n"


def _grid(head: str, rows: list[list[str]]) -> list[str]:
    names = head.split("|")
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|", *("| " + " | ".join(r) + " |" for r in rows)]


def _features(records: list[dict[str, Any]]) -> list[str]:
    def cell(record: dict[str, Any], case: str) -> str:
        if case not in record:
            return ""
        return " / ".join(f"1 - {1 - r['cosine']:.1e}, {r['largest']:.1e}" for r in record[case].values())

    cases = ("highest", "default", "bfloat16")
    head = "model|float32, highest: image / text|float32, default (TF32)|bfloat16"
    flags = {f"`XLA_FLAGS={f}`" for r in records if (f := r["versions"].get("XLA_FLAGS"))}
    return [
        "Against float32 on the CPU: lowest cosine, largest difference as a share of the largest number"
        + (f" ({', '.join(sorted(flags))})." if flags else "."), "",
        *_grid(head, [[r["case"], *(cell(r, c) for c in cases)] for r in records]),
    ]  # fmt: skip


def _losses(records: list[dict[str, Any]]) -> list[str]:
    rows = []
    for r in records:
        runs = r["runs"]
        steps = " ".join(f"{loss:.4f}" for loss, _ in runs["cpu"])
        rows.append([r["case"], steps, *(f"{x[0]:.1e} / {x[1]:.1e}" for x in r["relative"].values())])
    return _grid("model|losses on the CPU|highest: off by, loss / gradient norm|default|bfloat16", rows)


def _rate(record: dict[str, Any], name: str) -> str:
    rate = record["per_second"].get(name)
    return "" if rate is None else f"{rate:,.0f}"


def _ratio(record: dict[str, Any]) -> str:
    return "**{:.2f}** ({:.2f} to {:.2f})".format(*record["ratio"])


def _gain(record: dict[str, Any]) -> str:
    return f"**{record['per_second']['clipjax'] / record['per_second']['clipjax, plain']:.2f}**"


def _encoders(records: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            r["case"], _rate(r, "clipjax"), _rate(r, "open_clip"), _rate(r, "open_clip, torch.compile"), _ratio(r),
            f"{r['tflops']:.0f}", f"{r['planned_seconds'] * 1e3:.2f} ms ({r['bound']})",
            f"{r['share_of_roofline']:.0%}",
        ] for r in records
    ]  # fmt: skip
    head = "encoder|clipjax images/s|open_clip|its torch.compile|ratio to the fastest|TFLOP/s|`clipjax plan`|reached"
    return _grid(head, rows)


def _texts(records: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            r["case"], _rate(r, "clipjax"), _rate(r, "clipjax, 16 tokens"), _rate(r, "open_clip"),
            _rate(r, "open_clip, torch.compile"), _ratio(r), f"{r['tflops']:.0f}",
        ] for r in records
    ]  # fmt: skip
    head = "encoder|clipjax texts/s, 77 tokens|16 tokens|open_clip|its torch.compile|ratio at 77 tokens|TFLOP/s"
    return _grid(head, rows)


def _updates(records: list[dict[str, Any]]) -> list[str]:
    names = ("clipjax", "clipjax, 16 tokens", "open_clip", "open_clip, torch.compile")
    rows = [[r["case"], *(_rate(r, n) for n in names), _ratio(r), f"{r['share_of_roofline']:.0%}"] for r in records]
    head = "update|clipjax pairs/s|16 tokens|open_clip|its torch.compile|ratio|of the roofline"
    return _grid(head, rows)


def _cudnn(records: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            r["case"], _rate(r, "clipjax"), _rate(r, "clipjax, plain"), _gain(r),
            *(f"1 - {1 - r[k]:.1e}" for k in ("cudnn_to_float32", "plain_to_float32", "cudnn_to_plain")),
        ] for r in records
    ]  # fmt: skip
    head = "encoder|written for cuDNN, images/s|as elsewhere|gain|cosine to float32|as elsewhere|one to the other"
    return _grid(head, rows)


def _ceilings(records: list[dict[str, Any]]) -> list[str]:
    return [", ".join(f"{k} {v:,.0f}" for k, v in r.items() if k.endswith(("tflops", "gb_s"))) for r in records]


def _kernels(records: list[dict[str, Any]]) -> list[str]:
    out = []
    for r in records:
        out += [f"{r['case']}: {r['milliseconds']:.2f} ms", ""]
        out += [*_grid("kernel|ms|times", [[f"`{n}`", str(ms), str(times)] for n, ms, times in r["kernels"]]), ""]
    return out
