"""The probe engine's promises at the size they were made for; a random tiny model, real decoding, real processes.

python -m pytest -m heavy tests/heavy -s        (about a quarter of an hour)
"""

import json
import resource
import subprocess
import sys

import pytest
from PIL import Image
from support.probe_processes import command, encoded, finals, kill_at_random, run_on_two_hosts, run_with

from clipjax.testing import pictures, tiny_model

pytestmark = [pytest.mark.heavy]


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    root = tmp_path_factory.mktemp("many_images")
    tiny_model(root / "tiny.safetensors")
    pictures(root / "photos", {"a": 400, "b": 397, "c": 200})
    return root


def test_997_pictures_on_any_devices_mapping_and_hosts(many_images, tmp_path):
    batch = "--config.batch_size=16"
    runs = {
        "1 device": run_with(many_images, tmp_path / "1", tmp_path / "c1", 1, batch),
        "4 devices": run_with(many_images, tmp_path / "4", tmp_path / "c4", 4, batch),
        "8 devices": run_with(many_images, tmp_path / "8", tmp_path / "c8", 8, batch),
        "8 devices, fsdp": run_with(many_images, tmp_path / "f", tmp_path / "cf", 8, batch, "--config.placement=fsdp"),
        "4 devices, pmap": run_with(many_images, tmp_path / "p", tmp_path / "cp", 4, batch, "--config.mapping=pmap"),
        "2 processes x 2 devices": run_on_two_hosts(many_images, tmp_path / "h", tmp_path / "ch", batch),
    }
    for name in ("predictions.parquet", "metrics.json"):
        contents = {label: (out / name).read_bytes() for label, out in runs.items()}
        print(f"\n{name}: {len(set(contents.values()))} distinct content(s) among {', '.join(contents)}")
        assert len(set(contents.values())) == 1
    seen = {label: json.loads((out / "manifest.json").read_text())["counts"]["seen"] for label, out in runs.items()}
    assert set(seen.values()) == {997}


def test_ten_kills_over_4000_pictures(many_images, tmp_path):
    photos = pictures(tmp_path / "photos", {"a": 2000, "b": 2000})
    more = (f"--config.data.path={photos}", "--config.batch_size=16")
    whole = run_with(many_images, tmp_path / "whole", tmp_path / "cw", 1, *more)
    kills = kill_at_random(many_images, tmp_path / "killed", tmp_path / "ck", 10, (50, 250), *more)
    run_with(many_images, tmp_path / "killed", tmp_path / "ck", 1, *more)
    repeated = encoded(tmp_path / "killed") - 4000
    print(f"\n{kills} kills; {repeated} of 4000 pictures encoded again ({repeated / 4000:.2%}) by the log")
    assert kills == 10
    assert finals(whole) == finals(tmp_path / "killed")
    assert repeated < 0.05 * 4000


def test_memory_stays_flat_over_100_000_pictures(many_images, tmp_path):
    """Peak resident memory of the whole process at 5,000 and at 100,000: what grows is the features themselves."""
    photos = tmp_path / "photos" / "all"
    photos.mkdir(parents=True)
    for i in range(100_000):
        picture = Image.new("RGB", (32, 32), (i % 256, i // 256 % 256, i // 65536))
        picture.save(photos / f"{i:06}.png", compress_level=0)
    words, env = command(
        many_images, tmp_path / "run", tmp_path / "c", f"--config.data.path={photos}", "--config.classes=a,b"
    )
    words = [w for w in words if not w.startswith("--config.batch_size")] + ["--config.batch_size=64"]
    code = "import resource, sys; from clipjax.cli.main import main; s = main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(s)"  # noqa: E501
    peaks = {}
    for limit in (5_000, 100_000):
        argv = [sys.executable, "-c", code, *words[3:], f"--config.data.limit={limit}"]
        argv = [w if not w.startswith("--out=") else f"--out={tmp_path}/run{limit}" for w in argv]
        done = subprocess.run(argv, env=env | {"JAX_NUM_CPU_DEVICES": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[limit] = int(done.stderr.split()[-1]) / 1024
    grown, features = peaks[100_000] - peaks[5_000], 95_000 * 32 * 4 / 2**20
    print(f"\npeak MB: {peaks}; grown by {grown:.0f}, of which features {features:.0f} (this process: "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f})")  # fmt: skip
    # a row costs its feature a few times (batches, gathered, sorted), its name, its entry in the table and the log
    assert grown < 95_000 * 2_000 / 2**20
