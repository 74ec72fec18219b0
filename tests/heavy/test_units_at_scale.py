"""Steps of `clipjax shards` with few open files and little address space, and ten times as many units.

python -m pytest -m heavy tests/heavy/test_units_at_scale.py -s        (some minutes)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy]

ROOT = Path(__file__).parents[2]


def test_ten_times_the_units_take_the_same_memory_and_256_open_files(tmp_path):
    """`work` over 300 units too; the larger run has 10% more address space than the smaller one took."""
    script = ROOT / "experiments" / "shards" / "many_units.py"
    words = ["--units=30,300", "--limited", f"--work={tmp_path}/work", f"--results={tmp_path}"]
    subprocess.run([sys.executable, script, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    found = json.loads((tmp_path / "limited.json").read_text())
    for step in ("status", "verify --quick", "verify", "seal"):
        assert found["300"][step]["VmHWM"] < 1.05 * found["30"][step]["VmHWM"], step
