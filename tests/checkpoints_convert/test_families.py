"""A family of Hugging Face's is one file, to which its configurations come; a dialect is one row of `dialects.ALL`."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.family_models import MODELS

from checkpoints_convert import dialects, families, rules
from checkpoints_convert.dialects import big_vision, eva, huggingface, openai, timm
from checkpoints_convert.families import clip, metaclip2, siglip
from clipjax.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "families"

NAMES = (
    (big_vision.BIG_VISION, ["img/embedding/kernel", "txt/Embed_0/embedding"]),
    (openai.OPENAI, ["visual.conv1.weight", "token_embedding.weight"]),
    (openai.CUSTOM, ["visual.conv1.weight", "text.token_embedding.weight"]),
    (openai.PE_CORE, ["visual.conv1.weight", "visual.attn_pool.probe", "visual.attn_pool.layernorm.weight"]),
    (huggingface.CLIP, ["vision_model.embeddings.class_embedding", "text_projection.weight"]),
    (huggingface.SIGLIP, ["vision_model.head.probe", "text_model.head.weight"]),
    (timm.VIT, ["visual.trunk.pos_embed", "text.text_projection"]),
    (timm.SIGLIP, ["visual.trunk.pos_embed", "text.text_projection.weight"]),
    (timm.EVA, ["visual.trunk.blocks.0.attn.q_bias", "text.text_projection"]),
    (timm.EVA02, ["visual.trunk.blocks.0.attn.q_proj.weight", "text.text_projection"]),
    (eva.EVA02, ["visual.patch_embed.proj.weight", "visual.blocks.0.attn.inner_attn_ln.weight"]),
    (eva.EVA, ["visual.patch_embed.proj.weight", "text.text_projection"]),
    (timm.MOBILECLIP_B, ["visual.trunk.patch_embed.backbone.0.conv.weight", "text.text_projection"]),
)


def test_every_file_is_a_family():
    assert {clip, metaclip2, siglip} <= set(families.modules())


def test_configurations_come_to_their_family(monkeypatch):
    other = SimpleNamespace(MODEL_TYPE="other")
    monkeypatch.setattr(families, "modules", lambda: (clip, siglip, other))
    assert families.of_model_type("other") is other
    assert families.of_model_type("clip") is clip
    assert families.of_model_type("t5") is None
    assert families.of_model_type(None) is None


@pytest.mark.parametrize(("dialect", "names"), NAMES, ids=[dialect.name for dialect, _ in NAMES])
def test_names_show_their_dialect(dialect, names):
    assert dialects.of(names) is dialect


def test_every_dialect_is_tried():
    assert [d.name for d in dialects.ALL if not any(d is dialect for dialect, _ in NAMES)] == []


# What cannot go back: MobileCLIP-B's BatchNorms are folded into its stem, and of CoCa's queries one is kept.
LOST = {"mobileclip_b": "visual.stem.0.weight", "coca": "visual.attn_pool.query"}


@pytest.mark.parametrize("name", MODELS)
def test_tensors_go_in_and_out_bit_for_bit_or_are_refused_by_name(name):
    with np.load(GOLDEN / f"{name}.npz") as stored:
        state = {k.removeprefix("state/"): v for k, v in stored.items() if k.startswith("state/")}
    dialect = dialects.of(state)
    flat, unknown = rules.to_native(dialect, state, name)
    assert not unknown
    if name in LOST:
        with pytest.raises(InputError, match=f"no place for {re.escape(LOST[name])}"):
            rules.from_native(dialect, flat, name)
        return
    back = rules.from_native(dialect, flat, name)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)
        assert back[key].dtype == array.dtype
