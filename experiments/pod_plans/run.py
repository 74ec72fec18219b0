"""What the released models need on a TPU pod you do not have: one compiled plan per cell, a table and a figure.

    pip install 'clipjax[tpu]'
    python experiments/pod_plans/run.py                 every cell that has no result yet; hours on two cores
    python experiments/pod_plans/run.py --part=1/2      every second cell (and --part=2/2 beside it: one core each)
    python experiments/pod_plans/run.py --only='evaluation ViT-B-32*'
    python experiments/pod_plans/run.py --render --decode=RATE      table.md and the figures from what is there

One JSON file per cell is written to results/; finished cells are skipped. The largest batch is searched for
ViT-B/32 and RN50 on v5e:4x4, several compilations each; `clipjax plan` searches it for any model and pod.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import fnmatch
import json
import os
from importlib.metadata import version
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # nothing runs on a device

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PODS = ("v5e:4x4", "v5e:16x16", "v5p:2x2x4", "v6e:4x4")
SHOWN = ("ViT-B/32", "ViT-L/14@336px", "RN50", "RN50x64")
OTHERS = ("ViT-B/16", "ViT-L/14", "RN101", "RN50x4", "RN50x16")
BATCH = 64
# Training: pairs a chip, what is recomputed, chips to a copy of the state. The big ones need the latter two on 16 GB.
TRAINING = {
    "ViT-B/32": (256, "none", 1),
    "ViT-B/16": (64, "dots", 1),
    "ViT-L/14": (32, "full", 4),
    "ViT-L/14@336px": (16, "full", 4),
}
RING_CHIPS = {4: "v5e:2x2", 16: "v5e:4x4", 64: "v5e:8x8", 256: "v5e:16x16"}
RING_PER_CHIP, RING_WIDTH = 1024, 512


@dataclasses.dataclass(frozen=True)
class Cell:
    """One plan: kind is evaluation, training, gpu, or the loss alone (ring, global)."""

    kind: str
    model: str
    topology: str
    searched: bool = False

    @property
    def name(self) -> str:
        plain = self.model.replace("/", "-").replace("@", "-")
        return f"{self.kind} {plain} {self.topology.replace(':', '-')}"

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.name.replace(' ', '_')}.json"


def cells() -> list[Cell]:
    """Cheap ones first."""
    out = [Cell(form, "loss", pod) for pod in RING_CHIPS.values() for form in ("ring", "global")]
    out += [Cell("gpu", m, f"{g}:8") for m in (*SHOWN, *OTHERS) for g in ("h100", "a100", "l4")]
    out += [Cell("evaluation", m, pod, pod == "v5e:4x4") for m in ("ViT-B/32", "RN50") for pod in PODS]
    out += [Cell("evaluation", m, pod) for m in ("ViT-B/32", "RN50") for pod in ("v5e:1x1", "v5e:2x2", "v5e:8x8")]
    out += [Cell("training", "ViT-B/32", pod) for pod in PODS]
    out += [Cell("evaluation", m, "v5e:4x4") for m in OTHERS]
    out += [Cell("evaluation", m, pod) for m in ("ViT-L/14@336px", "RN50x64") for pod in PODS]
    out += [Cell("training", m, "v5e:4x4") for m in ("ViT-B/16", "ViT-L/14")]
    return out + [Cell("training", "ViT-L/14@336px", pod) for pod in PODS]


def compute(cell: Cell) -> dict:
    from clipjax.models import catalog
    from clipjax.plan import chips, compiling, programs, report

    topology = chips.topology(cell.topology)
    if cell.kind in ("ring", "global"):
        return loss_alone(cell.kind, topology)
    config = catalog.get(cell.model).config
    head = {"model": cell.model, "step": f"{cell.kind} step"}
    if cell.kind == "gpu":
        step = programs.evaluation(config, topology.size, BATCH)
        return head | {"step": "evaluation step"} | report.estimate(topology, step, "bfloat16")
    devices = compiling.tpu_devices(topology)
    if cell.kind == "evaluation":
        build = lambda n: programs.evaluation(config, devices, n)  # noqa: E731
        return head | report.plan(
            topology, build, BATCH, "bfloat16", largest="search" if cell.searched else "none", note=print
        )
    batch, remat, fsdp = TRAINING[cell.model]
    options = programs.options("ring_softmax", "bfloat16", remat, 1, False)
    build = lambda n: programs.training(config, devices, n, options, fsdp=fsdp)  # noqa: E731
    record = report.plan(topology, build, batch, "bfloat16", note=print)
    return head | {"loss": options.loss, "remat": remat, "fsdp": fsdp} | record


def loss_alone(form: str, topology) -> dict:
    """The loss with gradients, RING_PER_CHIP pairs a chip whatever the number of chips."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from clipjax import parallel
    from clipjax.plan import hlo
    from clipjax.plan.compiling import tpu_devices
    from clipjax.train import losses

    mesh = parallel.data_mesh(tpu_devices(topology))
    rows = NamedSharding(mesh, P("data"))
    extra = {"mesh": mesh} if form == "ring" else {}
    loss = losses.ring_softmax if form == "ring" else losses.softmax
    both = jax.ShapeDtypeStruct((RING_PER_CHIP * topology.size, RING_WIDTH), jnp.float32, sharding=rows)
    run = jax.jit(jax.grad(lambda a, b, s: loss(a, b, s, **extra), (0, 1, 2)), out_shardings=(rows, rows, None))
    program = run.lower(both, both, jnp.float32(20)).compile()
    memory = program.memory_analysis()
    assert memory is not None
    return {
        "topology": str(topology), "chips": topology.size, "pairs_per_chip": RING_PER_CHIP, "width": RING_WIDTH,
        "global_batch": RING_PER_CHIP * topology.size, "temporaries": memory.temp_size_in_bytes,
        "arguments": memory.argument_size_in_bytes,
        "collectives": [dataclasses.asdict(c) for c in hlo.Program(program.as_text()).collectives()],
    }  # fmt: skip


def made_with() -> dict[str, str]:
    names = ("clipjax", "jax", "jaxlib", "libtpu")
    return {"date": datetime.date.today().isoformat()} | {name: version(name) for name in names}


def load() -> dict[str, dict]:
    return {c.name: json.loads(c.path.read_text()) for c in cells() if c.path.exists()}


def row(record: dict, decode: float) -> list[str]:
    gib = 2**30
    # A chip's share of a pod's input, and what that costs its host.
    rate = record["images_per_second_per_chip"]
    largest = record.get("largest", {}).get("fits")
    out = [record["model"], record["topology"], str(record["batch_per_chip"])]
    out.append(f"{record['parameter_bytes'] / gib:.2f}")
    if "peak_bytes" in record:
        share = record["peak_bytes"] / record["hbm_bytes"]
        out += [f"{record['activation_bytes'] / gib:.2f}", f"{record['peak_bytes'] / gib:.2f} ({share:.0%})"]
        out += [f"{record['flops'] / 1e12:.3f}", f"{record['flops_ratio']:.4f}"]
        moved = [f"{c['count']} {c['kind']} {c['bytes'] / 2**20:.0f} MiB" for c in record["collectives"]]
        out += [f"{record['memory_bytes'] / gib:.2f}", ", ".join(moved) or "none"]
    else:
        out += [f"{record['analytical_flops'] / 1e12:.3f}", f"{record['analytical_bytes'] / gib:.2f}"]
    out += [f"{record['roofline_seconds'] * 1e3:.2f} ({record['roofline_bound']})"]
    out += [f"{record['images_per_second']:,.0f}", f"{rate:,.0f}"]
    if "imagenet_seconds" in record:
        out.append(f"{record['imagenet_seconds']:.2f}")
        out += [f"{rate / decode:,.0f}"] if decode else []
    if "largest" in record:
        out.append(f"{largest:,}" if largest else "none")
    return out


def table(head: list[str], rows: list[list[str]]) -> str:
    width = max(len(r) for r in rows)
    lines = [head[:width], ["---"] + ["---:"] * (width - 1)]
    return "\n".join("| " + " | ".join(r + [""] * (width - len(r))) + " |" for r in [*lines, *rows])


COMPILED = ["model", "topology", "batch", "parameters GiB", "activations GiB", "peak GiB", "TFLOP", "XLA / hand",
            "memory traffic GiB", "collectives", "roofline ms", "images/s", "a chip"]  # fmt: skip
COUNTED = ["model", "topology", "batch", "parameters GiB", "TFLOP", "traffic GiB", "roofline ms", "images/s", "a chip",
           "ImageNet s"]  # fmt: skip


def render(decode: float) -> None:
    """table.md: every cell that is there; the figures."""
    found = load()
    parts = []
    cores = ["cores a chip"] if decode else []
    for kind, title, head in (
        ("evaluation", "Evaluation", [*COMPILED, "ImageNet s", *cores, "largest batch"]),
        ("training", "Training, ring softmax", COMPILED),
        ("gpu", "NVIDIA, counted by hand and lowered for CUDA; not compiled", [*COUNTED, *cores]),
    ):
        rows = [row(r, decode) for name, r in found.items() if name.startswith(kind) and "roofline_seconds" in r]
        failed = [f"{name}: {r['does_not_fit']}" for name, r in found.items()
                  if name.startswith(kind) and "does_not_fit" in r]  # fmt: skip
        if rows:
            parts += [f"## {title}", "", table(head, rows), "", *failed]
    loss = [(name, r) for name, r in found.items() if name.split()[0] in ("ring", "global")]
    if loss:
        head = ["loss", "chips", "global batch", "temporaries a chip MB", "collectives"]
        rows = [[name.split()[0], str(r["chips"]), f"{r['global_batch']:,}", f"{r['temporaries'] / 1e6:,.1f}",
                 ", ".join(f"{c['count']} {c['kind']}" for c in r["collectives"])] for name, r in loss]  # fmt: skip
        parts += [f"## The loss alone, {RING_PER_CHIP:,} pairs a chip, width {RING_WIDTH}", "", table(head, rows), ""]
    versions = sorted({json.dumps(r["made_with"], sort_keys=True) for r in found.values()})
    parts += [f"Made with {text}" for text in versions]
    (HERE / "table.md").write_text("# Pod plans\n\n" + "\n".join(parts) + "\n")
    figures(found)
    print(f"table.md: {len(found)} of {len(cells())} cells")


def figures(found: dict[str, dict]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for form, colour in (("ring", "#0072B2"), ("global", "#D55E00")):
        points = [(r["chips"], r["temporaries"] / 1e6) for name, r in found.items() if name.startswith(form)]
        left.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=form) if points else None
    left.set(xscale="log", yscale="log", xlabel="v5e chips", ylabel="temporaries a chip, MB",
             title=f"contrastive loss with gradients, {RING_PER_CHIP:,} pairs a chip")  # fmt: skip
    left.legend(frameon=False)
    for model, colour in (("ViT-B-32", "#009E73"), ("RN50", "#CC79A7")):
        points = [(r["chips"], r["images_per_second"]) for name, r in found.items()
                  if name.startswith(f"evaluation {model} v5e") and "images_per_second" in r]  # fmt: skip
        right.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=model) if points else None
    right.set(xscale="log", yscale="log", xlabel="v5e chips", ylabel="images/s at the roofline",
              title=f"evaluation, {BATCH} images a chip, no collectives")  # fmt: skip
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "pod_plans.png", dpi=160, metadata={"Software": "clipjax"})
    figure.savefig(HERE / "pod_plans.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="cells whose name matches, e.g. 'evaluation RN50 *'")
    parser.add_argument("--part", default="1/1", help="I/N: every N-th cell")
    parser.add_argument("--list", action="store_true", help="names of the cells and which are done")
    parser.add_argument("--render", action="store_true", help="table and figures only")
    parser.add_argument("--decode", type=float, default=0.0, help="images/s one core decodes: adds cores a chip")
    args = parser.parse_args()
    index, of = map(int, args.part.split("/"))
    chosen = [c for c in cells() if fnmatch.fnmatch(c.name, args.only)][index - 1 :: of]
    if args.list:
        print("\n".join(f"{'done' if c.path.exists() else '    '} {c.name}" for c in chosen))
        return
    RESULTS.mkdir(exist_ok=True)
    for cell in [] if args.render else chosen:
        if cell.path.exists():
            continue
        print(f"{datetime.datetime.now():%H:%M:%S} {cell.name}", flush=True)
        record = compute(cell) | {"made_with": made_with()}
        partial = cell.path.with_suffix(f".tmp{os.getpid()}")
        partial.write_text(json.dumps(record, indent=1) + "\n")
        partial.replace(cell.path)
    render(args.decode)


if __name__ == "__main__":
    main()
