"""A family of models is one file: its rows join the dialects' tables, and its configurations come to it."""

from types import SimpleNamespace

import pytest

from checkpoints_convert import families, huggingface, openai
from checkpoints_convert.families import clip
from checkpoints_convert.rules import SAME, Rule

ROW = Rule("visual.attn_pool.probe", "vision_model.head.probe", SAME)
OTHER = SimpleNamespace(
    RULES={"huggingface": (ROW, *clip.RULES["huggingface"][:1])},
    MODEL_TYPE="siglip",
    has_open_clip=lambda model: "siglip" in model["vision_cfg"].get("timm_model_name", ""),
)


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(families, "modules", lambda: (clip, OTHER))


def test_every_file_is_a_family():
    assert clip in families.modules()
    assert families.rules("openai") == openai.DIALECT.rules
    assert families.rules("huggingface") == huggingface.DIALECT.rules


def test_a_second_family_adds_rows_and_shares_those_of_one_name(two):
    rows = families.rules("huggingface")
    assert ROW in rows
    assert len(rows) == len(clip.RULES["huggingface"]) + 1
    assert families.rules("openai") == clip.RULES["openai"]


def test_configurations_come_to_their_family(two):
    assert families.of_model_type("siglip") is OTHER
    assert families.of_model_type("clip") is clip
    assert families.of_model_type("t5") is None
    assert families.of_open_clip({"vision_cfg": {"timm_model_name": "vit_siglip"}, "text_cfg": {}}) is OTHER
    for name in ({}, {"timm_model_name": "convnext"}):  # CLIP's says what it does not build
        assert families.of_open_clip({"vision_cfg": name, "text_cfg": {}}) is clip
