"""Which tensors of a checkpoint are the model: one set is taken, a choice is said, and --state-dict makes it."""

import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import VIT, random_weights

import checkpoints_convert
from checkpoints_convert import Options, choice
from clipjax.errors import InputError

QUICK = Options(activation="quick_gelu")
ONE = ("visual.conv1.weight", "token_embedding.weight", "logit_scale")


def names(*prefixes, around=()):
    return [(*around, prefix + name) for prefix in prefixes for name in ONE]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "clip.", "clip_model.", "module.net.clip."])
@pytest.mark.parametrize("around", [(), ("state_dict",), ("model",), ("net",), ("module",), ("a", "b")])
def test_a_sole_set_is_taken_behind_any_prefix(prefix, around):
    chosen, note = choice.choose(names(prefix, around=around))
    assert (sorted(chosen.values()), note) == (sorted(ONE), None)


def test_optimisers_and_measures_are_not_weights():
    others = [("optimizer", "state", "0", "exp_avg"), ("best_acc",), ("scaler", "scale")]
    chosen, _ = choice.choose([*names("module.", around=("state_dict",)), *others])
    assert sorted(chosen.values()) == sorted(ONE)


@pytest.mark.parametrize("average", ["state_dict_ema", "ema", "model_ema", "ema.shadow", "averaged"])
def test_a_moving_average_is_a_note_and_a_choice(average):
    both = names("module.", around=("state_dict",)) + names("module.", around=(average,))
    chosen, note = choice.choose(both)
    assert {name[0] for name in chosen} == {"state_dict"}
    assert note is not None
    assert f"--state-dict={average}.module" in note
    again, _ = choice.choose(both, f"{average}.module")
    assert {name[0] for name in again} == {average}
    shorter, _ = choice.choose(both, average)
    assert again == shorter


def test_two_prefixes_in_one_mapping_are_a_choice_too():
    chosen, note = choice.choose(names("net.", "net_ema."))
    assert {name[0].split(".")[0] for name in chosen} == {"net"}
    assert note is not None


def test_several_sets_are_asked_for():
    with pytest.raises(InputError, match=r"3 tensors under 'a', 3 tensors under 'b'.*choose one: --state-dict=a"):
        choice.choose(names("", around=("a",)) + names("", around=("b",)))
    with pytest.raises(InputError, match="at the top"):
        choice.choose(names("") + names("", around=("model",)))
    with pytest.raises(InputError, match="--state-dict=c: no tensors of that name; its weights: a, b"):
        choice.choose(names("", around=("a",)) + names("", around=("b",)), "c")


def test_other_weights_beside_the_prefix_are_named_and_can_be_left_out():
    beside = [*names("clip.", around=("state_dict",)), ("state_dict", "head.weight")]
    with pytest.raises(InputError, match=r"has state_dict\.head\.weight; .*--state-dict=state_dict\.clip"):
        choice.choose(beside)
    chosen, _ = choice.choose(beside, "state_dict.clip")
    assert sorted(chosen.values()) == sorted(ONE)


def test_the_option_reads_the_average_from_a_file(tmp_path):
    a, b = random_weights(VIT, seed=1), random_weights(VIT, seed=2)
    tree = {
        "epoch": np.float64(2),
        "state_dict": checkpoints.openai_names(a),
        "state_dict_ema": checkpoints.openai_names(b),
    }
    path = checkpoints.torch_file(tmp_path / "m.pt", tree)
    first = checkpoints_convert.read(path, QUICK)
    assert any("--state-dict=state_dict_ema" in note for note in first.notes)
    assert np.array_equal(first.weights.flat["text_projection"], a.flat["text_projection"])
    second = checkpoints_convert.read(path, Options(activation="quick_gelu", state_dict="state_dict_ema"))
    assert np.array_equal(second.weights.flat["text_projection"], b.flat["text_projection"])
