"""Random weights in the released formats, written once, for conversion, cold start and latency.

    python benchmarks/released_files.py FOLDER ViT-L/14

OpenAI's TorchScript archive (float16, traced, as `clip.load` opens it), clipjax's file made of it, open_clip's
safetensors (float32) and Hugging Face's folder. Needs the extra [peers].
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(folder: Path, name: str, *formats: str) -> dict[str, Path]:
    """Paths by format, created in a separate process if they are missing, so torch's memory is released."""
    stem = name.replace("/", "-").replace("@", "-")
    paths = {
        "torchscript": folder / f"{stem}.pt", "clipjax": folder / f"{stem}.safetensors",
        "open_clip": folder / f"open_clip-{stem}.safetensors", "huggingface": folder / f"huggingface-{stem}",
        "photo": folder / "photo.jpg",
    }  # fmt: skip
    paths = {k: v for k, v in paths.items() if k in (formats or paths)}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        arguments = json.dumps({"torchscript": str(folder / f"{stem}.pt")} | {k: str(v) for k, v in paths.items()})
        subprocess.run([sys.executable, __file__, name, arguments], check=True)
    return paths


def _write(name: str, paths: dict[str, str]) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import numpy as np
    from PIL import Image
    from support import peer_models

    import checkpoints_convert
    from clipjax.models import catalog

    config = catalog.get(name).config
    archive = Path(paths["torchscript"])
    if not archive.exists():
        peer_models.save_torchscript(peer_models.openai_model(config), config, archive)
    if "clipjax" in paths:
        checkpoints_convert.translate(archive, paths["clipjax"])
    for to in ("open_clip", "huggingface"):
        if to in paths:
            float32 = checkpoints_convert.cast(checkpoints_convert.read(archive).weights, "float32")
            checkpoints_convert.write(paths[to], float32, to)
    if "photo" in paths:
        rng = np.random.default_rng(0)  # smooth patches: a JPEG of 640 x 480
        pixels = np.kron(rng.integers(0, 255, (30, 40, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(paths["photo"], quality=90)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].startswith("{"):
        _write(sys.argv[1], json.loads(sys.argv[2]))
    elif len(sys.argv) == 3:
        print(*make(Path(sys.argv[1]), sys.argv[2]).values(), sep="\n")
    else:
        raise SystemExit(__doc__)
