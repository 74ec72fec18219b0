"""Makes sharding.json: where every parameter of the nine released models lies, per number of chips. No devices needed.

    python tests/golden/make_sharding.py

A model's row holds its parameters in groups of equal layout, each as a pattern of names in which `*` stands for a
block's number, with how many parameters the pattern is; where blocks differ in layout, every name stands for itself.
"""

import json
import re
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from clipjax import parallel
from clipjax.encoder import Encoder
from clipjax.models import catalog, clip

TARGET = Path(__file__).with_name("sharding.json")
# What is cut over: all chips for evaluation with placement=fsdp (axis `data`), the `fsdp` axis of a training mesh.
EVALUATION = {"v5e:2x2": 4, "v5e:4x4": 16, "v5e:16x16": 256, "v5p:2x2x4": 16, "v6e:4x4": 16}
TRAINING = {"v5e:2x2": (2, 2), "v5e:4x4": (4, 4), "v5e:16x16": (16, 16), "v5p:2x2x4": (4, 4), "v6e:4x4": (4, 4)}


def specs(flat: dict[str, Any], mesh: AbstractMesh, over: str) -> dict[str, str]:
    """Parameter name -> its spec as text, e.g. "None, fsdp"; "" is whole on every chip."""
    return {name: written(spec) for name, spec in parallel.fsdp_specs(flat, mesh, over).items()}


def written(spec: PartitionSpec) -> str:
    """A spec's axes."""
    return ", ".join(map(str, spec))


def layouts(name: str) -> dict[str, dict[str, str]]:
    """ "evaluation v5e:4x4" or "training v5e:4x4" -> every parameter's spec.

    For evaluation the image encoder's are read off the encoder's own program: its parameters are not the file's where
    the encoder folds some into others.
    """
    config = catalog.get(name).config
    params = clip.abstract(config)
    every = clip.flatten(params)
    text = {k: v for k, v in every.items() if not k.startswith("visual.") and k != "logit_scale"}
    found = {}
    for topology, chips in EVALUATION.items():
        mesh = AbstractMesh((chips,), ("data",), (AxisType.Auto,))
        image = Encoder(config, params, mesh=mesh, placement="fsdp").image_step()[1][0]
        image = {k: written(v.sharding.spec) for k, v in image.items()}
        found[f"evaluation {topology}"] = image | specs(text, mesh, "data")
    for topology, shape in TRAINING.items():
        mesh = AbstractMesh(shape, ("data", "fsdp"), (AxisType.Auto,) * 2)
        found[f"training {topology}"] = specs(every, mesh, "fsdp")
    return found


def grouped(flat: dict[str, str]) -> dict[str, list[str]]:
    """Spec -> patterns of the names that have it; a pattern whose names differ in spec keeps them apart."""
    by_pattern: dict[str, dict[str, str]] = {}
    for name, spec in flat.items():
        by_pattern.setdefault(re.sub(r"(resblocks|layer\d)\.\d+\.", r"\1.*.", name), {})[name] = spec
    out: dict[str, list[str]] = {}
    for pattern, members in by_pattern.items():
        same = len(set(members.values())) == 1
        for name, spec in members.items():
            label = f"{pattern} ({len(members)})" if same else name
            if label not in out.setdefault(spec, []):
                out[spec].append(label)
    return {spec: sorted(names) for spec, names in sorted(out.items())}


def snapshot(name: str) -> list[dict[str, Any]]:
    """A model's groups; layouts that are equal are written once and named together."""
    once: dict[str, list[str]] = {}
    for where, flat in layouts(name).items():
        once.setdefault(json.dumps(grouped(flat)), []).append(where)
    return [{"where": where, "specs": json.loads(text)} for text, where in once.items()]


def main() -> None:
    """Writes every model's snapshot."""
    golden = {name: snapshot(name) for name in catalog.names()}
    TARGET.write_text(json.dumps(golden, indent=1) + "\n", encoding="ascii")
    print(f"{TARGET.name}: {len(golden)} models, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
