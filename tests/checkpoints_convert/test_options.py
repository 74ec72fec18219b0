"""Options of bare weights: checked where they are made, empty where not given, never against a configuration."""

import pytest
from support.checkpoints import WIDE

from checkpoints_convert import Options, parse
from clipjax.errors import InputError


def test_what_is_empty_is_not_given():
    assert parse({"activation": "", "heads": 0, "eps": 0.0, "mean": "", "state_dict": None}) == Options()
    assert parse({"mean": "0.5,0.4,0.3", "heads": 16}) == Options(heads=16, mean=(0.5, 0.4, 0.3))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"activation": "relu"}, "--activation=relu: clipjax has quick_gelu or gelu"),
        ({"heads": -1}, "--heads=-1: a whole number"),
        ({"text_heads": -3}, "--text-heads=-3"),
        ({"eps": 2.0}, "--eps=2.0: a number between 0 and 1"),
        ({"mean": "0.5,0.5"}, "three numbers, red,green,blue"),
        ({"std": "a,b,c"}, "--std=a,b,c: three numbers"),
    ],
)
def test_what_cannot_be_is_one_line(values, words):
    with pytest.raises(InputError, match=words):
        parse(values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Options(activation="quick_gelu"), "says activation gelu; --activation=quick_gelu contradicts it"),
        (Options(heads=5), "says heads 4"), (Options(text_heads=4), "says text_heads 2; --text-heads=4"),
        (Options(eps=1e-6), "says eps 1e-05"), (Options(std=(1.0, 1.0, 1.0)), r"--std=1.0,1.0,1.0 contradicts"),
    ],
)  # fmt: skip
def test_a_configuration_is_not_contradicted(given, words):
    with pytest.raises(InputError, match=words):
        given.check(WIDE, "m.safetensors")
