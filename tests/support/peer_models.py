"""The peers themselves: models with random weights, their files, and what they compute layer by layer.

Used by tests/golden/make_parity.py (small models, stored) and by test_full_size.py (all nine, compared directly).
Needs the extra [peers]: torch, clip-anytorch, open_clip_torch, transformers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

warnings.filterwarnings("ignore")

from clip.model import CLIP, build_model, convert_weights  # noqa: E402

Outputs = dict[str, np.ndarray]


def openai_model(config, seed: int = 0) -> CLIP:
    """clip-anytorch's CLIP of one of our configurations, with random weights, float32, in evaluation mode."""
    torch.manual_seed(seed)
    is_resnet = hasattr(config.image, "patch_size") is False
    model = CLIP(
        config.embed_dim, config.image.image_size, config.image.layers, config.image.width,
        None if is_resnet else config.image.patch_size, config.text.context_length, config.text.vocab_size,
        config.text.width, config.text.heads, config.text.layers,
    )  # fmt: skip
    model.initialize_parameters()
    randomise(model)
    return model.eval()


def randomise(model: torch.nn.Module) -> None:
    """Moves every parameter that starts as a constant (biases, gains, BatchNorm statistics) off it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if not value.is_floating_point() or value.ndim != 1 or name.endswith("k_bias"):  # EVA's is always 0
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + 0.3 * noise.tanh())
            elif name.endswith(("bn3.weight", "bn3.bias")):
                value.copy_(0.3 + 0.1 * noise)  # zero at the start: the whole branch would be invisible
            elif value.std() == 0:
                value.add_(0.1 * noise)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # as in the released weights some channels hardly vary: there, eps shows (0.5% at this variance)
                module.running_var[::8] = 1e-3
                module.weight[::8] *= 1e-3**0.5


def inputs(config, images: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """pixels float32 [B, S, S, 3] at the scale of normalised pictures, and tokens int64 [6, T] of several lengths."""
    rng = np.random.default_rng(seed)
    size, length, vocabulary = config.image.image_size, config.text.context_length, config.text.vocab_size
    coarse = rng.normal(size=(images, 8, 8, 3))  # smooth, as pictures are, with a little noise
    pixels = np.repeat(np.repeat(coarse, size // 8, 1), size // 8, 2)
    pixels = np.pad(pixels, ((0, 0), (0, size - pixels.shape[1]), (0, size - pixels.shape[2]), (0, 0)), mode="edge")
    pixels = pixels + 0.1 * rng.normal(size=pixels.shape)
    tokens = np.zeros((6, length), np.int64)
    for row, n in zip(tokens, (2, 3, length // 2, length - 1, length, 5), strict=True):
        row[:n] = [vocabulary - 2, *rng.integers(0, vocabulary - 2, n - 2), vocabulary - 1]
    return pixels.astype(np.float32), tokens


def openai_outputs(model, pixels: np.ndarray, tokens: np.ndarray) -> Outputs:
    """Raw features and every layer of OpenAI's or open_clip's class, under the names of our intermediate results."""
    seen: Outputs = {}
    hooks = []

    def keep(name: str, change: Callable = lambda x: x):
        def hook(_module, _args, out):
            seen[name] = change(out[0] if isinstance(out, tuple) else out).detach().float().numpy().copy()

        return hook

    def rows(x):  # [X, B, D] inside OpenAI's transformers
        return x.permute(1, 0, 2) if sequence_first else x

    visual, resblocks = model.visual, model.transformer.resblocks
    sequence_first = type(model).__module__.startswith("clip.")
    if hasattr(visual, "layer1"):
        hooks.append(visual.avgpool.register_forward_hook(keep("visual.stem", lambda x: x.permute(0, 2, 3, 1))))
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for i, block in enumerate(getattr(visual, stage)):
                hook = keep(f"visual.{stage}.{i}", lambda x: x.permute(0, 2, 3, 1))
                hooks.append(block.register_forward_hook(hook))
    else:
        hooks.append(visual.conv1.register_forward_hook(keep("visual.conv1", lambda x: x.flatten(2).transpose(1, 2))))
        hooks.append(visual.ln_pre.register_forward_hook(keep("visual.ln_pre")))
        for i, block in enumerate(visual.transformer.resblocks):
            hooks.append(block.register_forward_hook(keep(f"visual.transformer.resblocks.{i}", rows)))
        only_class = lambda x: x if x.ndim == 2 else x[:, 0]  # noqa: E731 (open_clip normalises all tokens)
        hooks.append(visual.ln_post.register_forward_hook(keep("visual.ln_post", only_class)))
    for i, block in enumerate(resblocks):
        hooks.append(block.register_forward_hook(keep(f"transformer.resblocks.{i}", rows)))
    hooks.append(model.ln_final.register_forward_hook(keep("ln_final")))
    with torch.no_grad():
        seen["image_features"] = model.encode_image(torch.from_numpy(pixels).permute(0, 3, 1, 2)).float().numpy()
        seen["text_features"] = model.encode_text(torch.from_numpy(tokens)).float().numpy()
    for hook in hooks:
        hook.remove()
    return seen


def huggingface_outputs(model, pixels: np.ndarray, tokens: np.ndarray) -> Outputs:
    """The same of transformers' CLIPModel."""
    with torch.no_grad():
        image = model.vision_model(torch.from_numpy(pixels).permute(0, 3, 1, 2), output_hidden_states=True)
        text = model.text_model(torch.from_numpy(tokens), output_hidden_states=True)
        seen = {
            "visual.ln_pre": image.hidden_states[0],
            "visual.ln_post": image.pooler_output,
            "ln_final": text.last_hidden_state,
            "image_features": model.visual_projection(image.pooler_output),
            "text_features": model.text_projection(text.pooler_output),
        }
        # transformers' last hidden state is the last block's output for pixels, the final norm's for text
        seen |= {f"visual.transformer.resblocks.{i}": x for i, x in enumerate(image.hidden_states[1:])}
        seen |= {f"transformer.resblocks.{i}": x for i, x in enumerate(text.hidden_states[1:-1])}
    return {k: v.float().numpy() for k, v in seen.items()}


def save_torchscript(model: CLIP, config, path: Path) -> CLIP:
    """An archive as OpenAI's: traced, float16 where OpenAI converts, sizes as buffers. Returns its float32 reading."""
    pixels, tokens = inputs(config, 1)
    for name, value in {
        "input_resolution": config.image.image_size,
        "context_length": config.text.context_length,
        "vocab_size": config.text.vocab_size,
    }.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    example = {
        "forward": (torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(tokens[:1])),
        "encode_image": torch.from_numpy(pixels).permute(0, 3, 1, 2),
        "encode_text": torch.from_numpy(tokens[:1]),
    }
    traced = torch.jit.trace_module(model, example, check_trace=False)
    halved = {name for name, _ in _openai_half(model)}
    for name, value in traced.named_parameters():
        if name in halved:
            value.data = value.data.half()
    torch.jit.save(traced, str(path))
    reread = torch.jit.load(str(path)).state_dict()
    return build_model({k: v.clone() for k, v in reread.items()}).float().eval()


def _openai_half(model: CLIP) -> list[tuple[str, torch.Tensor]]:
    import copy

    converted = copy.deepcopy(model)
    convert_weights(converted)
    return [(n, p) for n, p in converted.named_parameters() if p.dtype == torch.float16]


def huggingface_model(config, seed: int = 0):
    """transformers' CLIPModel of one of our configurations, with random weights."""
    from transformers import CLIPConfig, CLIPModel

    from checkpoints_convert import huggingface

    torch.manual_seed(seed)
    data = huggingface.config_json(config, "float32")
    model = CLIPModel(CLIPConfig(**{k: data[k] for k in ("text_config", "vision_config", "projection_dim")}))
    randomise(model)
    return model.eval()


def open_clip_model(config, seed: int = 0):
    """open_clip's CLIP of one of our configurations, with random weights."""
    from open_clip.model import CLIP as OpenCLIP

    from checkpoints_convert import open_clip_config

    torch.manual_seed(seed)
    data = open_clip_config.config_json(config)["model_cfg"]
    model = OpenCLIP(
        data["embed_dim"], data["vision_cfg"], data["text_cfg"], quick_gelu=data["quick_gelu"]
    )  # fmt: skip
    randomise(model)
    return model.eval()
