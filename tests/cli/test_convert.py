"""`clipjax convert`, and the remedies of its messages, typed as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest

import checkpoints_convert
from clipjax import loading
from clipjax.cli.main import main
from clipjax.models import catalog, shapes, weights

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, *argv):
    assert main(list(argv)) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


@pytest.mark.parametrize("to", checkpoints_convert.FORMATS)
def test_there_and_back(capsys, here, to):
    middle = {"openai": "m.pt", "clipjax": "m.safetensors"}.get(to, "folder")
    source = GOLDEN / "openai_vit.pt"
    assert main(["convert", str(source), middle, f"--to={to}", "--activation=quick_gelu"]) == 0
    out, err = capsys.readouterr()
    assert "ViT, 32 px in patches of 8, width 64, layers 3, heads 1; text width 64, layers 2, heads 1" in out
    assert "; quick_gelu; 0.3 million parameters, float32, --to=" in out
    assert "carries no configuration; read with quick_gelu" in err
    assert main(["convert", middle, "back.safetensors"]) == 0  # whatever clipjax wrote says what it is
    first = loading.find_weights(source, checkpoints_convert.Options(activation="quick_gelu"))
    back = loading.find_weights("back.safetensors")
    assert first.config == back.config
    assert all(np.array_equal(first.flat[k], back.flat[k]) for k in first.flat)


def test_the_flags_that_a_bare_file_asks_for_are_taken(capsys, here):
    line = fails(capsys, "convert", str(GOLDEN / "openai_vit.pt"), "out.safetensors")
    flags = re.findall(r"--\w+=\w+", line)
    assert flags[:3] == ["--activation=quick_gelu", "--activation=gelu", "--heads=N"]
    assert not Path("out.safetensors").exists()
    for chosen in (flags[:1], [flags[1], "--heads=1"]):
        assert main(["convert", str(GOLDEN / "openai_vit.pt"), "out.safetensors", *chosen]) == 0
        capsys.readouterr()


def test_the_name_that_a_wrong_suffix_asks_for_is_taken(capsys, here):
    line = fails(capsys, "convert", "emoji-clip", "out.pt")
    assert "--to=clipjax" in line
    name = re.search(r"name it (\S+?)[,;]?( |$)", line)[1]
    assert main(["convert", "emoji-clip", name]) == 0
    assert loading.find_weights(name).name == "emoji-clip"


def test_the_state_dict_that_is_asked_for_is_taken(capsys, here):
    """From one flat file with two sets of weights behind prefixes."""
    config = catalog.openai(16, catalog.vit(32, 16, 64, 1), catalog.text(64, 1, context_length=8, vocab_size=8))
    rng = np.random.default_rng(0)
    flat = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.shapes(config).items()}
    checkpoints_convert.write(Path("m.pt"), weights.Weights(flat, config, "m", {}), "openai")
    tensors = checkpoints_convert.openai.to_torch_layout(flat, "m")
    both = {f"{side}.{k}": v + i for i, side in enumerate(("teacher", "student")) for k, v in tensors.items()}
    weights.save_tensors("two.safetensors", both, {})
    line = fails(capsys, "convert", "two.safetensors", "out.safetensors", "--activation=quick_gelu")
    flag = re.search(r"--state-dict=\S+", line)[0]
    assert flag == "--state-dict=student"  # the first of the file
    for shift, chosen in enumerate(("--state-dict=teacher", flag)):
        assert main(["convert", "two.safetensors", "out.safetensors", "--activation=quick_gelu", chosen]) == 0
        found = loading.find_weights("out.safetensors").flat["ln_final.bias"]
        np.testing.assert_array_equal(found, flat["ln_final.bias"] + np.float32(shift))


def test_a_whole_pickled_models_remedy_is_python(capsys, here):
    """Executed against torch itself in tests/peers."""
    line = fails(capsys, "convert", str(GOLDEN.parent / "torchfile" / "refused_whole_model.pt"), "out.safetensors")
    assert "torch.nn.modules.linear.Linear" in line
    assert re.search(r"torch\.save\(torch\.load\(.*model\.pt., weights_only=False\)\.state_dict\(\), NEW\)", line)
