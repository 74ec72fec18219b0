"""What fine-tuning reads beside captions: hard negatives as NegCLIP's tables have them, columns named by one key."""

import pytest

from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.runs import finetune_input
from clipjax.testing import pictures, tiny_config
from clipjax.train.texts import OPENAI


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A row per caption, with a list of captions that it is not; the last has none."""
    root = tmp_path_factory.mktemp("negatives")
    pictures(root, {"cat": 2}, size=33)
    (root / "negclip.csv").write_text(
        "filepath,title,neg_caption,weight\n"
        "cat/0000.jpg,a cat on a mat,\"['a mat on a cat', 'a dog on a mat']\",2\n"
        "cat/0000.jpg,black cat,\"['white cat']\",2\n"
        "cat/0001.jpg,two cats,,1\n"
    )
    return root


def typed(folder, *overrides):
    own = ("data.image_column=filepath", "data.caption_columns=title", "batch_size=2", *overrides)
    given = [f"--config.{one}" for one in (f"data.csv={folder / 'negclip.csv'}", *own)]
    return configs.typed(configs.plain(configs.load("openai_vit_b32_csv", given, "finetune")))


def test_a_table_of_negclip(folder):
    found, _ = finetune_input.training_pairs(typed(folder, "data.hard_negative_columns=neg_caption"))
    assert found.captions == [("a cat on a mat", "black cat"), ("two cats",)]
    assert found.hard_negatives == [(("a mat on a cat", "a dog on a mat"), ("white cat",)), ((),)]
    held = ("data.hard_negative_columns=neg_caption", f"data.validation_path={folder / 'negclip.csv'}")
    found, validation = finetune_input.training_pairs(typed(folder, *held, "data.weight_column=weight"))
    assert validation.hard_negatives == found.hard_negatives
    assert found.weights.tolist() == [4 / 3, 2 / 3]  # a column that only this key names is read


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.hard_negative_columns=neg_captoin"], 'no column "neg_captoin"; nearest: "neg_caption"'),
        (["data.hard_negative_columns=title"], "as caption and as hard negative"),
        (["data.weight_column=wieght"], 'no column "wieght"; nearest: "weight"'),
        (
            ["data.source=folder", "data.hard_negative_columns=x", "data.csv=", "data.image_column=",
             "data.caption_columns=", "data.path={folder}"],
            "data.hard_negative_columns is not read by the source folder; it is read by csv",
        ),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_meant(folder, overrides, message):
    with pytest.raises(InputError) as error:
        finetune_input.training_pairs(typed(folder, *(one.format(folder=folder) for one in overrides)))
    assert message in str(error.value)


def test_rings_have_no_hard_negatives(folder):
    config = typed(folder, "data.hard_negative_columns=neg_caption", "loss=ring_softmax")
    found, _ = finetune_input.training_pairs(config)

    class Begin:
        config = tiny_config()

    with pytest.raises(InputError, match="loss=softmax or sigmoid, not ring_softmax"):
        finetune_input.training_feed(config, Begin, found, None, 2, 0, OPENAI)
