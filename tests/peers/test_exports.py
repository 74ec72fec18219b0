"""Exports are judged by the peers' default calls: features are those of the peer fed with the same stored values."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from support import peer_exports

import checkpoints_convert
from checkpoints_convert import open_clip, openai, opening
from clipjax.errors import InputError
from clipjax.models import catalog, families, shapes, weights
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels
from clipjax.models.kinds.text import Text

pytestmark = pytest.mark.peers
ODD = CLIP(
    24, families.image("openai", 36, 12, 64, 2, 2, 160, "gelu", 1e-5),
    families.text("openai", 12, 96, 64, 2, 1, 256, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip


def compared(arch, stored, tmp_path, seen=lambda line: True):
    """Line -> (difference from the peer's own model, difference from float32) of every export that is opened."""
    state = peer_exports.make_state(arch, stored)
    source = peer_exports.save_source(arch, state, tmp_path / "source")
    inputs = peer_exports.make_inputs(arch)
    reference = peer_exports.features(peer_exports.by_hand("open_clip", arch, state), *inputs)
    out = {}
    for _, line, open_it in peer_exports.cells(arch, source, tmp_path):
        if seen(line):
            found = peer_exports.features(open_it(), *inputs)
            own = peer_exports.features(peer_exports.by_hand(line.split(":")[0], arch, state), *inputs)
            out[line] = peer_exports.largest_difference(found, own), peer_exports.largest_difference(found, reference)
    return out


@pytest.mark.parametrize("stored", peer_exports.STORED)
@pytest.mark.parametrize("name", peer_exports.TINY)
def test_every_peers_default_call_is_exact(name, stored, tmp_path):
    arch = peer_exports.TINY[name]
    found = compared(arch, stored, tmp_path)
    peers = {"open_clip"} | ({"timm", "transformers"} if arch.patch else set()) | ({"clip"} if arch.quick else set())
    assert {line.split(":")[0] for line in found} == peers
    for line, (own, float32) in found.items():
        assert own == 0, line
        rounds = line.startswith("clip") and stored in ("float32", "bfloat16")  # its own float16, which is said
        computes_in_half = line.startswith("transformers") and stored in ("float16", "bfloat16")
        if not rounds and not computes_in_half:
            assert float32 < 1e-6, line


@pytest.mark.parametrize(
    "name", ["ViT-S-32-alt", "ViT-S-32-alt, QuickGELU", pytest.param("ViT-B/32", marks=pytest.mark.heavy)]
)
def test_the_call_that_names_the_architecture_is_exact(name, tmp_path):
    found = compared(peer_exports.NAMED[name], "openai", tmp_path, lambda line: 'pretrained="' in line)
    assert len(found) == 2  # the file in the folder, and the file alone
    assert all(difference == (0, 0) for difference in found.values()), found


def test_another_name_gives_other_numbers(tmp_path):
    """Why the printed call names the activation: open_clip opens the file under the other name without a word."""
    arch = peer_exports.NAMED["ViT-S-32-alt, QuickGELU"]
    source = peer_exports.save_source(arch, peer_exports.make_state(arch, "float16"), tmp_path / "source")
    lines = peer_exports.export(source, tmp_path / "alone.safetensors", "open_clip")
    assert "force_quick_gelu=True" in lines[0]
    inputs = peer_exports.make_inputs(arch)
    right, other = (
        peer_exports.features(peer_exports.opened(line), *inputs)
        for line in (lines[0], lines[0].replace(", force_quick_gelu=True", ""))
    )
    assert peer_exports.largest_difference(right, other) > 1e-2


def test_open_clips_architectures_are_open_clips(tmp_path):
    """Every name that is printed means the model, and every architecture that open_clip has in common has a name."""
    import open_clip as peer

    names = set()
    for name in peer.list_models():
        (tmp_path / open_clip.CONFIG_FILE).write_text(json.dumps({"model_cfg": peer.get_model_config(name)}))
        try:
            config, _ = open_clip.read_config(tmp_path)
        except InputError:
            continue
        names.add(name)
        if isinstance(config.text, Text) and opening.open_clip_name(config) is not None:
            assert opening.open_clip_name(config) == (name, False)
    known = opening.open_clip_architectures()
    assert known.keys() == {name.removesuffix("-quickgelu") for name in names} & known.keys()
    assert len(known) == 29


def test_what_clip_load_halves():
    for arch in (peer_exports.TINY["ViT"], peer_exports.TINY["ResNet"]):
        state = peer_exports.make_state(arch, "float32")
        model = peer_exports.clip.model.build_model(dict(state))
        halved = {name for name, value in model.state_dict().items() if value.dtype == torch.float16}
        assert halved == {name for name in state if openai.is_halved(name) and state[name].is_floating_point()}


def test_clip_load_warns_and_refuses_where_float16_does_not_reach(tmp_path):
    arch = peer_exports.TINY["ViT"]
    state = peer_exports.make_state(arch, "float32")
    source = peer_exports.save_source(arch, state, tmp_path / "a")
    assert "rounds" in peer_exports.export(source, tmp_path / "a.pt", "openai")[1]
    source = peer_exports.save_source(arch, peer_exports.make_state(arch, "openai"), tmp_path / "b")
    assert len(peer_exports.export(source, tmp_path / "b.pt", "openai")) == 1
    state["visual.proj"][0, 0] = 1e5
    source = peer_exports.save_source(arch, state, tmp_path / "c")
    with pytest.raises(InputError, match=r"visual\.proj holds 1e\+05, which clip\.load turns into infinity"):
        peer_exports.export(source, tmp_path / "c.pt", "openai")


def odd_weights(config=ODD):
    rng = np.random.default_rng(0)
    flat = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.shapes(config).items()}
    return weights.Weights(flat, config, "odd", {})


def test_pixels_are_prepared_as_the_model_asks(tmp_path):
    import timm
    import transformers

    checkpoints_convert.write(tmp_path / "oc", odd_weights(), "open_clip")
    model, _, _ = peer_exports.open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'oc'}")
    cfg = model.visual.preprocess_cfg
    assert (tuple(cfg["mean"]), tuple(cfg["std"])) == (ODD.pixels.mean, ODD.pixels.std)
    assert (cfg["interpolation"], cfg["resize_mode"], cfg["mode"]) == ("bicubic", "shortest", "RGB")
    assert np.ravel(cfg["size"]).tolist() == [36, 36]
    data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{tmp_path / 'oc'}", pretrained=True))
    assert (tuple(data["mean"]), tuple(data["std"]), data["input_size"]) == (
        ODD.pixels.mean,
        ODD.pixels.std,
        (3, 36, 36),
    )
    assert (data["interpolation"], data["crop_pct"], data["crop_mode"]) == ("bicubic", 1.0, "center")
    checkpoints_convert.write(tmp_path / "hf", odd_weights(), "huggingface")
    for loader in (transformers.CLIPProcessor, transformers.AutoProcessor):
        found = loader.from_pretrained(tmp_path / "hf").image_processor
        assert (tuple(found.image_mean), tuple(found.image_std)) == (ODD.pixels.mean, ODD.pixels.std)
        assert (found.size["shortest_edge"], found.crop_size["height"], found.resample) == (36, 36, 3)


def test_mixed_dtypes_that_hold_each_other_in_neither_are_float32(tmp_path):
    import transformers

    start = odd_weights(dataclasses.replace(ODD, pixels=catalog.OPENAI_PIXELS))
    flat = dict(start.flat)
    flat["visual.proj"] = flat["visual.proj"].astype(np.float16)
    for name in [n for n in flat if n != "visual.proj"]:
        flat[name] = flat[name].astype(checkpoints_convert.convert.DTYPES["bfloat16"])
    checkpoints_convert.write(tmp_path / "hf", dataclasses.replace(start, flat=flat), "huggingface")
    model = transformers.CLIPModel.from_pretrained(tmp_path / "hf")
    assert np.array_equal(model.visual_projection.weight.detach().numpy().T, flat["visual.proj"].astype(np.float32))
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}


@pytest.mark.parametrize(
    ("name", "kind", "processor"),
    [
        ("hf_siglip", "SiglipModel", "SiglipImageProcessor"), ("hf_metaclip2", "MetaClip2Model", "CLIPImageProcessor"),
    ],
)  # fmt: skip
def test_families_of_transformers_go_back_to_it(name, kind, processor, tmp_path):
    """A folder of transformers', read and written, is computed by its own class as before."""
    golden = Path(__file__).parents[1] / "golden" / "families"
    checkpoints_convert.write(tmp_path / "hf", checkpoints_convert.read(golden / name).weights, "huggingface")
    model, said = getattr(transformers, kind).from_pretrained(
        tmp_path / "hf", output_loading_info=True, dtype="float64"
    )
    assert not any(said.values())
    assert type(transformers.AutoImageProcessor.from_pretrained(tmp_path / "hf")).__name__ == processor
    with np.load(golden / f"{name}.npz") as stored, torch.no_grad():
        pixels, tokens, want = (stored[key] for key in ("pixels", "tokens", "logits"))
        found = model.eval()(
            input_ids=torch.from_numpy(tokens), pixel_values=torch.from_numpy(pixels).permute(0, 3, 1, 2)
        )
    # The same program on the same weights in float64: only threads may order its sums otherwise.
    assert np.abs(found.logits_per_image.numpy() - want).max() <= 1e-12 * np.abs(want).max()
