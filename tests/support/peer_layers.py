"""What open_clip's models compute, layer by layer, under the names of our intermediate results; timm's trunks too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Outputs = dict[str, np.ndarray]


def randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter and statistic off its start, at values that float16 holds; float64."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point() or "rope" in name or name.endswith(("attn_mask", "k_bias")):
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            scale = 0.3 if value.ndim < 2 or "emb" in name or "latent" in name else 1.2 * value[0].numel() ** -0.5
            is_gain = name.endswith("weight") and value.ndim == 1
            noise = (0.5 + noise.abs()) if name.endswith("running_var") else scale * noise + is_gain
            value.copy_(noise.half().double())
    return module


def outputs(model: torch.nn.Module, pixels: np.ndarray, tokens: np.ndarray) -> Outputs:
    """{"image/transformer.resblocks.0": ...}, with "image/features" and "text/features", raw.

    pixels [B, S, S, 3], tokens int64 [B, T]. "text/ln_final" has every row where the model norms all of them.
    """
    seen: Outputs = {}
    with torch.no_grad():
        hooks = [module.register_forward_hook(_keep(seen, name, change)) for name, module, change in _layers(model)]
        dtype = next(model.parameters()).dtype
        image = torch.from_numpy(pixels).to(dtype).permute(0, 3, 1, 2)
        seen["image/features"] = model.encode_image(image, normalize=False).numpy()
        seen["text/features"] = model.encode_text(torch.from_numpy(tokens), normalize=False).numpy()
        for hook in hooks:
            hook.remove()
    return seen


def _keep(seen: Outputs, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable:
    def hook(_module, _args, out):
        seen[name] = change(out[0] if isinstance(out, tuple) else out).detach().numpy().copy()

    return hook


def _layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module, Callable]]:
    """(name, module, change of its output)."""
    visual, text = model.get_submodule("visual"), model.get_submodule("text") if hasattr(model, "text") else model
    found: list[tuple[str, torch.nn.Module, Callable]] = []

    def add(name: str, module: torch.nn.Module | None, change: Callable = lambda x: x) -> None:
        if module is not None and not isinstance(module, torch.nn.Identity):
            found.append((name, module, change))

    def channels_last(x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)

    if hasattr(visual, "layer1"):
        add("image/stem", visual.avgpool, channels_last)
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for i, block in enumerate(visual.get_submodule(stage)):
                add(f"image/{stage}.{i}", block, channels_last)
    elif hasattr(visual, "trunk"):
        trunk = visual.trunk
        add("image/" + ("stem" if hasattr(trunk.patch_embed, "backbone") else "conv1"), trunk.patch_embed)
        add("image/ln_pre", trunk.norm_pre)
        add("image/ln_post", trunk.norm)
        for i, block in enumerate(trunk.blocks):
            add(f"image/transformer.resblocks.{i}", block)
    else:
        add("image/conv1", visual.conv1, lambda x: x.flatten(2).transpose(1, 2))
        add("image/ln_pre", visual.ln_pre)
        add("image/ln_post", visual.ln_post)
        for i, block in enumerate(visual.transformer.resblocks):
            add(f"image/transformer.resblocks.{i}", block)
    for i, block in enumerate(text.transformer.resblocks):
        add(f"text/transformer.resblocks.{i}", block)
    add("text/ln_final", text.ln_final)
    return found


def errors(found: Outputs, want: Outputs) -> dict[str, float]:
    """Largest difference of each of the peer's layers, of its largest value.

    Of a norm that the peer makes of all rows and we only of the one that is read, that row is compared.
    """
    out = {}
    for layer, theirs in want.items():
        ours = found[layer]
        if theirs.ndim == ours.ndim + 1:  # the row nearest to ours; the features decide whether it is the right one
            rows = np.abs(theirs - ours[:, None]).max(-1).argmin(1)
            theirs = theirs[np.arange(len(rows)), rows]
        assert ours.shape == theirs.shape, (layer, ours.shape, theirs.shape)
        out[layer] = float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max())
    return out
