"""Makes tests/golden/parity/: small random models of every dialect, in the peers' own files, with what they compute.

    python tests/golden/make_parity.py        (needs the extra [peers])

Each case is a file or folder as the peer writes it, and NAME.npz with inputs, every layer and the features.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from safetensors.torch import save_file  # noqa: E402
from support import peer_models  # noqa: E402

from checkpoints_convert import open_clip, open_clip_config  # noqa: E402
from clipjax.models import families  # noqa: E402
from clipjax.models.catalog import OPENAI_PIXELS, openai, resnet, text, vit  # noqa: E402
from clipjax.models.config import CLIP  # noqa: E402
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels  # noqa: E402

OUT = Path(__file__).parent / "parity"
SMALL_TEXT = text(64, layers=2, context_length=16, vocab_size=96)
VIT = openai(32, vit(32, 8, 64, 3), SMALL_TEXT)
RESNET = openai(32, resnet(64, 8, (1, 2, 1, 1)), SMALL_TEXT)
# heads of 32, an mlp of 2.5 widths, exact GELU, other statistics, another context length
OTHER = CLIP(
    24, families.image("openai", 36, 12, 64, 2, 2, 160, "gelu", 1e-5),
    families.text("openai", 12, 96, 96, 2, 3, 384, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip
HUGGING_FACE = CLIP(
    24, families.image("openai", 32, 8, 64, 2, 4, 96, "quick_gelu", 1e-5),
    families.text("openai", 16, 96, 48, 2, 3, 192, "gelu", 1e-6),
    OPENAI_PIXELS, CLIP_BPE, False,
)  # fmt: skip


def store(name: str, config: CLIP, outputs) -> None:
    """Inputs and outputs of one case; the versions that made them inside."""
    import open_clip as peer
    import transformers

    pixels, tokens = peer_models.inputs(config, 2)
    versions = {"torch": torch.__version__, "open_clip": peer.__version__, "transformers": transformers.__version__}
    np.savez_compressed(
        OUT / f"{name}.npz", pixels=pixels, tokens=tokens, versions=json.dumps(versions), **outputs(pixels, tokens)
    )


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for name, config in {"openai_vit": VIT, "openai_resnet": RESNET}.items():
        model = peer_models.openai_model(config)
        torch.save(model.state_dict(), OUT / f"{name}.pt")
        store(name, config, lambda *x, m=model: peer_models.openai_outputs(m, *x))
        reread = peer_models.save_torchscript(peer_models.openai_model(config), config, OUT / f"{name}_torchscript.pt")
        store(f"{name}_torchscript", config, lambda *x, m=reread: peer_models.openai_outputs(m, *x))
    model = peer_models.open_clip_model(OTHER)
    folder = OUT / "open_clip_gelu"
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / open_clip.CONFIG_FILE).write_text(json.dumps(open_clip_config.config_json(OTHER), indent=2))
    store("open_clip_gelu", OTHER, lambda *x: peer_models.openai_outputs(model, *x))
    model = peer_models.huggingface_model(HUGGING_FACE)
    model.save_pretrained(OUT / "huggingface")
    store("huggingface", HUGGING_FACE, lambda *x: peer_models.huggingface_outputs(model, *x))


if __name__ == "__main__":
    main()
