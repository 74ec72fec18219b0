"""What the peers make of our exports, each by its default call, and what they should: the same stored values in the
peer's own class, put there by hand.

Everything starts as a state dict with OpenAI's names and random values, stored as somebody's file would be. Nothing of
`checkpoints_convert` but the conversion under test is used here: names, layouts and configurations are spelled out
again. Used by test_exports.py and experiments/exports/run.py. Needs the extra [peers].
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

warnings.filterwarnings("ignore")

import clip  # noqa: E402
import open_clip  # noqa: E402
import timm  # noqa: E402
import transformers  # noqa: E402

import checkpoints_convert  # noqa: E402
from checkpoints_convert import opening  # noqa: E402

State = dict[str, torch.Tensor]
Features = dict[str, torch.Tensor]
STORED = ("float32", "float16", "bfloat16", "openai")  # the last: Linear and convolution float16, the rest float32
PEERS = {"clip": clip, "open_clip": open_clip, "timm": timm, "transformers": transformers}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A CLIP by its numbers. `layers` is a tuple for a ResNet, whose `patch` is None; heads are width / 64 if 0."""

    embed: int
    size: int
    patch: int | None
    width: int
    layers: int | tuple[int, int, int, int]
    text: tuple[int, int, int, int]  # context, vocabulary, width, layers
    quick: bool
    heads: int = 0
    mlp: int = 0

    @property
    def model_cfg(self) -> dict:
        """open_clip's description."""
        vision = {"image_size": self.size, "width": self.width, "patch_size": self.patch}
        if self.patch:
            vision |= {"layers": self.layers, "head_width": self.width // self.image_heads,
                       "mlp_ratio": self.image_mlp / self.width}  # fmt: skip
        else:
            vision |= {"layers": list(self.layers)}
        context, vocabulary, width, layers = self.text
        text = {
            "context_length": context,
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // 64,
            "layers": layers,
        }
        return {"embed_dim": self.embed, "quick_gelu": self.quick, "vision_cfg": vision, "text_cfg": text}

    @property
    def image_heads(self) -> int:
        """Heads of the ViT."""
        return self.heads or self.width // 64

    @property
    def image_mlp(self) -> int:
        """Width of the ViT's mlp."""
        return self.mlp or self.width * 4


_FULL_TEXT = (77, 49408, 512, 12)
NAMED = {
    "ViT-B/32": Architecture(512, 224, 32, 768, 12, _FULL_TEXT, True),
    "ViT-B/32, GELU": Architecture(512, 224, 32, 768, 12, _FULL_TEXT, False),
    "RN50": Architecture(1024, 224, None, 64, (3, 4, 6, 3), _FULL_TEXT, True),
    "ViT-S-32-alt": Architecture(256, 224, 32, 384, 12, (77, 49408, 256, 10), False),
    "ViT-S-32-alt, QuickGELU": Architecture(256, 224, 32, 384, 12, (77, 49408, 256, 10), True),
}
_TEXT = (16, 96, 64, 2)
TINY = {
    "ViT": Architecture(32, 32, 8, 64, 2, _TEXT, True),
    "ViT, GELU": Architecture(32, 32, 8, 64, 2, _TEXT, False),
    "ViT, GELU, heads of 32, mlp 160": Architecture(24, 36, 12, 64, 2, _TEXT, False, 2, 160),
    "ResNet": Architecture(32, 64, None, 64, (1, 2, 1, 1), _TEXT, True),
    "ResNet, GELU": Architecture(32, 64, None, 64, (1, 2, 1, 1), _TEXT, False),
}


def halved(name: str) -> bool:
    """Whether OpenAI's released files hold this tensor in float16."""
    norm = re.search(r"(^|\.)(ln_\w+|bn\d|downsample\.1)\.", name)
    return not norm and not name.endswith(("embedding", "token_embedding.weight", "logit_scale"))


def make_state(arch: Architecture, stored: str, seed: int = 0) -> State:
    """Random values off their constants, in the dtypes of `stored`."""
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(**arch.model_cfg)
    generator = torch.Generator().manual_seed(seed + 1)
    state = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            state[name] = value
            continue
        if value.ndim == 1:
            noise = torch.randn(value.shape, generator=generator)
            value = value + (0.3 * noise.tanh().abs() if name.endswith("running_var") else 0.1 * noise)
        dtype = torch.float16 if halved(name) else torch.float32
        state[name] = value.to(dtype if stored == "openai" else getattr(torch, stored))
    return state


def save_source(arch: Architecture, state: State, folder: Path) -> Path:
    """The state dict as torch saves it, with open_clip's configuration beside it."""
    folder.mkdir(parents=True)
    torch.save(state, folder / "source.pt")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": arch.model_cfg, "preprocess_cfg": {}}))
    return folder / "source.pt"


def export(source: Path, target: Path, to: str) -> list[str]:
    """Converts; gives what `clipjax convert` prints on how to open it."""
    read = checkpoints_convert.translate(source, target, to)
    return opening.lines(target, read.weights, to)


class _Names(dict):
    """A package's names as they are asked for: transformers imports its own lazily."""

    def __init__(self, package):
        self.package = package

    def __missing__(self, name):
        return getattr(self.package, name)


def opened(line: str) -> torch.nn.Module:
    """Evaluates one printed line "PEER: EXPRESSION"; its model."""
    peer, expression = line.split(": ", 1)
    found = eval(expression, {"__builtins__": {}}, _Names(PEERS[peer]))
    while isinstance(found, tuple):
        found = found[0]
    return found.eval()


def by_hand(peer: str, arch: Architecture, state: State) -> torch.nn.Module:
    """The peer's own class with these values, as the peer computes with a file that holds them."""
    plain = {k: v.clone() for k, v in state.items()}
    if peer == "clip":
        return clip.model.build_model(plain).float().eval()
    if peer == "open_clip":
        model = open_clip.model.CLIP(**arch.model_cfg)
        model.load_state_dict(plain)
        return model.eval()
    if peer == "timm":
        model = _timm_model(arch)
        module = timm.models.vision_transformer if arch.patch else timm.models.byobnet
        model.load_state_dict(module.checkpoint_filter_fn(plain, model))
        return model.eval()
    model = _huggingface_model(arch)
    dtypes = {v.dtype for v in state.values()}
    model.to(dtypes.pop() if len(dtypes) == 1 else torch.float32)
    model.load_state_dict(huggingface_state(plain))
    return model.eval()


def _timm_model(arch: Architecture) -> torch.nn.Module:
    if not arch.patch:
        return timm.create_model("resnet50_clip", num_classes=arch.embed)
    quick = "_quickgelu" if arch.quick else ""
    return timm.create_model(
        f"vit_base_patch16_clip{quick}_224", img_size=arch.size, patch_size=arch.patch, embed_dim=arch.width,
        depth=arch.layers, num_heads=arch.image_heads, mlp_ratio=arch.image_mlp / arch.width, num_classes=arch.embed,
    )  # fmt: skip


def _huggingface_model(arch: Architecture) -> torch.nn.Module:
    context, vocabulary, width, layers = arch.text
    act = "quick_gelu" if arch.quick else "gelu"
    text = {"vocab_size": vocabulary, "hidden_size": width, "intermediate_size": width * 4, "num_hidden_layers": layers,
            "num_attention_heads": width // 64, "max_position_embeddings": context, "hidden_act": act,
            "eos_token_id": vocabulary - 1, "bos_token_id": vocabulary - 2}  # fmt: skip
    vision = {"hidden_size": arch.width, "intermediate_size": arch.image_mlp, "num_hidden_layers": arch.layers,
              "num_attention_heads": arch.image_heads, "image_size": arch.size, "patch_size": arch.patch,
              "hidden_act": act}  # fmt: skip
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=arch.embed)
    return transformers.CLIPModel(config)


def huggingface_state(state: State) -> State:
    """OpenAI's names -> CLIPModel's, written out once more."""
    out: State = {}
    renamed = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm"), ("ln_final", "final_layer_norm"),
             ("transformer.resblocks", "encoder.layers"), ("attn.out_proj", "self_attn.out_proj"),
             ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("c_fc", "fc1"), ("c_proj", "fc2"))  # fmt: skip
    for name, value in state.items():
        if name in renamed:
            out[renamed[name]] = value
        elif name in ("visual.proj", "text_projection"):
            out[{"visual.proj": "visual_projection.weight"}.get(name, "text_projection.weight")] = value.T.contiguous()
        else:
            theirs = (
                "vision_model." + name.removeprefix("visual.") if name.startswith("visual.") else f"text_model.{name}"
            )
            for ours, new in parts:
                theirs = theirs.replace(ours, new)
            if "in_proj_" in theirs:
                for letter, piece in zip("qkv", value.chunk(3), strict=True):
                    out[theirs.replace("attn.in_proj_", f"self_attn.{letter}_proj.")] = piece.clone()
            else:
                out[theirs] = value
    return out


def make_inputs(arch: Architecture, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """pixels float32 [3, 3, S, S] and tokens int64 [4, L] of several lengths, with the end of text as the highest."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(3, 3, arch.size, arch.size, generator=generator)
    context, vocabulary, *_ = arch.text
    tokens = torch.zeros(4, context, dtype=torch.int64)
    for row, n in zip(tokens, (3, 5, context - 1, context), strict=True):
        row[:n] = torch.randint(1, vocabulary - 2, (n,), generator=generator)
        row[0], row[n - 1] = vocabulary - 2, vocabulary - 1
    return pixels, tokens


def features(model: torch.nn.Module, pixels: torch.Tensor, tokens: torch.Tensor) -> Features:
    """Raw image and text features (of timm's models only the former), as the model gives them."""
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        if isinstance(model, transformers.CLIPModel):
            image = model.get_image_features(pixel_values=pixels.to(dtype))
            text = model.get_text_features(input_ids=tokens)
            image, text = (x if isinstance(x, torch.Tensor) else x.pooler_output for x in (image, text))
            return {"image": image, "text": text}
        if not hasattr(model, "encode_text"):
            return {"image": model(pixels.to(dtype))}
        return {"image": model.encode_image(pixels.to(dtype)), "text": model.encode_text(tokens)}


def largest_difference(a: Features, b: Features) -> float:
    """The largest difference over what both have, relative to the largest value of `b`."""
    both = a.keys() & b.keys()
    assert both
    return max(float((a[k].double() - b[k].double()).abs().max() / b[k].double().abs().max()) for k in both)


def cells(arch: Architecture, source: Path, folder: Path) -> Iterator[tuple[str, str, Callable[[], torch.nn.Module]]]:
    """(format, line that was printed, what opens it) of every export of `source` and every peer that reads it."""
    targets = [("open_clip", folder / "oc"), ("open_clip", folder / "alone.safetensors")]
    if arch.patch:
        targets.append(("huggingface", folder / "hf"))
    if arch.quick and not arch.heads and not arch.mlp:
        targets.append(("openai", folder / "openai.pt"))
    for to, target in targets:
        for line in export(source, target, to):
            if not line.startswith("note: "):
                yield to, line, lambda line=line: opened(line)
