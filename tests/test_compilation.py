"""Compiled programs in the user's own folder: who may see it, how it is turned off, and that a bad one is not used."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.amount import EXHAUSTIVE

ROOT = Path(__file__).parents[1]
KEEP = "import clipjax.compilation as c, os; print(c.keep_programs(), os.environ.get('JAX_COMPILATION_CACHE_DIR'))"


def run(*arguments, **environment):
    # without what tests/conftest.py sets: neither its cache, nor the warning that it silences
    ours = ("JAX_COMPILATION", "JAX_PERSISTENT", "PYTHONWARNINGS")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)


def kept(folder, **environment):
    done = run("-c", KEEP, CLIPJAX_COMPILATION_CACHE=str(folder), **environment)
    return *done.stdout.split(), done.stderr


def test_the_folder_is_the_users_own_and_jax_is_told_of_it(tmp_path):
    folder, told, notes = kept(tmp_path / "programs")
    assert folder == told
    assert Path(folder).parent == tmp_path / "programs"
    for path in (tmp_path / "programs", Path(folder)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert notes == ""


def test_it_can_be_turned_off_and_a_users_own_jax_cache_is_left_alone(tmp_path):
    for word in ("none", "off", "0", "None"):
        assert kept(word) == ("None", "None", "")
    assert kept(tmp_path / "a", JAX_COMPILATION_CACHE_DIR="/mine") == ("None", "/mine", "")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    found, told, notes = kept(folder)
    assert (found, told) == ("None", "None")
    assert f"others can write to {folder}" in notes


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert kept(tmp_path / "file" / "programs") == ("None", "None", "")


def test_the_oldest_entries_go_when_the_folder_is_too_large(tmp_path, monkeypatch):
    from clipjax import compilation

    for i in range(4):
        (tmp_path / f"{i}-cache").write_bytes(b"x" * 10)
        os.utime(tmp_path / f"{i}-cache", (i, i))
    monkeypatch.setattr(compilation, "LARGEST", 25)
    compilation._drop_oldest(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["2-cache", "3-cache"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder of programs that the tests below share: `classify` compiles for seconds."""
    return tmp_path_factory.mktemp("kept") / "programs"


HEAVY = (
    "pandas", "pyarrow", "scipy", "statsmodels", "matplotlib", "sklearn", "grain", "orbax", "tensorflow_datasets",
    "torch", "ml_collections",
)  # fmt: skip
NO_MODEL = ("jax", "flax", "PIL", "http.client")
# pyarrow imports pandas, and grain orbax, where they are asked for a little.
OF_PROBE = ("pandas", "scipy.stats", "matplotlib", "grain", "orbax", "fsspec", "tensorflow_datasets", "torch")


@pytest.mark.parametrize(
    ("verb", "unwanted"),
    [
        ("classify", HEAVY),
        ("convert", (*HEAVY, *NO_MODEL)),
        pytest.param("probe", OF_PROBE, marks=pytest.mark.exhaustive),
    ],
)
def test_what_a_verb_does_not_need_is_not_imported(tmp_path, programs, verb, unwanted):
    from PIL import Image

    (tmp_path / "photos" / "red").mkdir(parents=True)
    for photo in ("photo.png", "photos/red/photo.png"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / photo)
    source = ROOT / "tests" / "golden" / "parity" / "openai_vit_torchscript.pt"
    arguments = {
        "classify": ["classify", str(tmp_path / "photo.png"), "--classes=a,b"],
        "convert": ["convert", str(source), str(tmp_path / "m.safetensors")],
        "probe": [
            "probe",
            "zeroshot",
            f"--config.data.path={tmp_path / 'photos'}",
            f"--out={tmp_path / 'run'}",
            "--config.classes=red,blue",
            "--config.cache_dir=none",
        ],
    }[verb]
    code = (
        "import sys; from clipjax.cli.main import main; "
        f"assert main({arguments!r}) == 0; print([m for m in {unwanted!r} if m in sys.modules])"
    )
    environment = {"CLIPJAX_QUIET": "1", "CLIPJAX_COMPILATION_CACHE": str(programs), "JAX_NUM_CPU_DEVICES": "1"}
    assert run("-c", code, **environment).stdout.splitlines()[-1] == "[]"


def test_a_second_classify_compiles_nothing_and_an_entry_cut_short_only_costs_time(tmp_path, programs):
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    command = ("-m", "clipjax.cli.main", "classify", str(tmp_path / "photo.png"), "--classes=a,b", "--json")
    environment = {"CLIPJAX_COMPILATION_CACHE": str(programs), "JAX_NUM_CPU_DEVICES": "1"}
    first = run(*command, **environment)
    entries = {p: p.stat().st_mtime_ns for p in programs.glob("*/*-cache")}
    assert entries, "nothing was kept"
    second = run(*command, **environment)
    assert second.stdout == first.stdout
    after = {p: p.stat().st_mtime_ns for p in programs.glob("*/*-cache")}
    assert entries.items() <= after.items()  # on a loaded machine one more may take longer than what is kept
    if not EXHAUSTIVE:
        return
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    third = run(*command, **environment)
    assert json.loads(third.stdout) == json.loads(first.stdout)
    assert "persistent compilation cache" not in third.stderr
