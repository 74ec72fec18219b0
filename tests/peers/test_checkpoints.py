"""Files as torch, transformers and open_clip write them today; the Python remedies of our messages, executed."""

import argparse
import collections
import re
from pathlib import Path

import numpy as np
import pytest

import checkpoints_convert
from checkpoints_convert import Options
from clipjax.errors import InputError
from clipjax.models import catalog, clip, weights

pytestmark = pytest.mark.peers
GELU = Options("gelu", heads=2, text_heads=2)


@pytest.fixture
def model():
    from open_clip.model import CLIP

    image = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
    return CLIP(32, image, {"context_length": 16, "vocab_size": 96, "width": 64, "heads": 2, "layers": 2})


def same(path, model, options=GELU):
    found = checkpoints_convert.read(path, options).weights
    assert (found.config.image.heads, found.config.text.activation) == (2, "gelu")
    for ours, theirs in (("ln_final.weight", model.ln_final.weight), ("visual.proj", model.visual.proj)):
        np.testing.assert_array_equal(found.flat[ours], theirs.detach().numpy())


def test_a_trainers_checkpoint_with_everything_in_it(model, tmp_path):
    import torch

    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    torch.save(
        {
            "epoch": np.float64(3), "best": torch.tensor(0.5), "dtype": torch.float16, "device": torch.device("cpu"),
            "net": {f"module.clip_model.{k}": v for k, v in model.state_dict().items()},
            "optimizer": optimizer.state_dict(), "args": argparse.Namespace(tags={"a"}, out=Path("x")),
            "schedule": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0).state_dict(),
            "history": collections.defaultdict(list, loss=[np.float32(1)]), "numpy": np.random.get_state(),
            "generator": torch.get_rng_state(),
        },
        tmp_path / "m.pt",
    )  # fmt: skip
    same(tmp_path / "m.pt", model)


@pytest.mark.parametrize("around", [None, "model"])
def test_a_whole_pickled_models_remedy_works(model, tmp_path, around):
    import torch

    path, new = tmp_path / "whole.pt", tmp_path / "new.pt"
    torch.save({around: model, "epoch": np.float64(1)} if around else model, path)
    with pytest.raises(InputError, match=r"asks for open_clip\.model\.CLIP") as caught:
        checkpoints_convert.read(path, GELU)
    exec(re.search(r"in Python: (.*)$", str(caught.value))[1].replace("NEW", repr(str(new))), {"torch": torch})
    same(new, model)


def test_an_old_torch_files_remedy_works(model, tmp_path):
    import torch

    path = tmp_path / "old.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError) as caught:
        checkpoints_convert.read(path, GELU)
    exec(str(caught.value).rpartition("trust it: ")[2], {"torch": torch})
    same(path, model)


def test_a_scripted_archive_says_its_activation(model, tmp_path):
    import torch

    torch.jit.script(model).save(str(tmp_path / "m.pt"))
    same(tmp_path / "m.pt", model, Options(heads=2, text_heads=2))
    with pytest.raises(InputError, match="its code computes gelu"):
        checkpoints_convert.read(tmp_path / "m.pt", Options("quick_gelu"))


def test_folders_of_transformers(tmp_path):
    """processor_config.json in place of preprocessor_config.json, tokenizer.json in place of vocab.json, shards."""
    import transformers

    config = catalog.openai(32, catalog.vit(32, 8, 64, 2), catalog.text(64, 2, 16))
    rng = np.random.default_rng(0)
    flat = {k: (rng.normal(size=s) * 0.05).astype(np.float32) for k, s in clip.shapes(config).items()}
    checkpoints_convert.write(tmp_path / "ours", weights.Weights(flat, config, "x", {}), "huggingface")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "ours")
    for folder, limit in (("whole", "1GB"), ("shards", "200KB")):
        theirs.save_pretrained(tmp_path / folder, max_shard_size=limit)
        transformers.CLIPProcessor.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / folder)
        found = checkpoints_convert.read(tmp_path / folder)
        assert (found.weights.config, found.notes) == (config, ())
        np.testing.assert_array_equal(found.weights.flat["visual.proj"], flat["visual.proj"])
    transformers.CLIPVisionModel.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "image")
    with pytest.raises(InputError, match="holds a CLIP's image encoder alone"):
        checkpoints_convert.read(tmp_path / "image")
