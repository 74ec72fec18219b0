"""What a run over many images takes, against the worked plan of 10^9 images."""

import json

import pytest

from clipjax.cli.main import main
from clipjax.plan import cost


def test_the_cost_of_a_billion_images_by_hand():
    """ViT-B/32 on v5e: 23,784 images/s a chip at the bound; 464 images/s a core; 512 numbers; 49.4 KB an image."""
    found = cost.cost(23_784, 1e9, 512, 464, 49_400, 1.2, 10_000)
    assert found["chip_hours"] == {"bound": pytest.approx(11.68, abs=0.01), "planned": pytest.approx(29.2, abs=0.01)}
    assert found["decode_core_hours"] == pytest.approx(598.7, abs=0.1)
    assert found["cores_per_chip"]["bound"] == pytest.approx(51.3, abs=0.1)
    assert found["feature_bytes"] == {"float16": 1.024e12, "float32": 2.048e12}
    assert found["read_bytes"] == pytest.approx(49.4e12)
    assert found["price"]["planned"] == pytest.approx(35.0, abs=0.1)
    assert found["units"] == 100_000
    assert "1.0 TB as float16, 2.0 TB as float32" in cost.as_text(found)


def test_it_is_a_part_of_the_plan(capsys):
    words = ["plan", "--model=ViT-B/32", "--topology=h200:8"]
    assert main([*words, "--images=1e9", "--price=4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rate = record["images_per_second_per_chip"]
    assert record["cost"]["chip_hours"]["bound"] == pytest.approx(1e9 / rate / 3600)
    text = cost.as_text(cost.cost(rate, 1e6, 512, 464, 49_400, 0, 10_000))
    assert text.startswith("1,000,000 images\n")
    assert "price" not in text
    for more, message in (
        (["--images=0"], "--images=0 is not a number from 1"),
        (["--images=nan"], "--images=nan is not a number from 1"),
        (["--images=5", "--price=-1"], "--price=-1 is not a price"),
        (["--images=5", "--price=nan"], "--price=nan is not a price"),
        (["--images=5", "--train"], "leave one of them out"),
        (["--price=4"], "--price and --image-bytes are of a number of images"),
    ):
        assert main([*words, *more]) == 1
        assert message in capsys.readouterr().err
