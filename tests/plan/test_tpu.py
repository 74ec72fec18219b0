"""The real compiler for a pod that is not here.

pip install 'clipjax[tpu]' && python -m pytest -m tpu_compiler tests/plan        (minutes)
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.tpu_compiler]


def plan(*arguments):
    """In a process of its own: the tests' virtual devices are not what a user has."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    command = [sys.executable, "-m", "clipjax.cli.main", "plan", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("model", ["ViT-B/32", "RN50"])
def test_evaluation_on_four_chips(model):
    record, _ = plan(f"--model={model}", "--topology=v5e:2x2", "--batch=64", "--largest=none")
    assert 1 <= record["flops_ratio"] < 1.02
    assert record["collectives"] == []
    assert record["parameter_bytes"] < record["peak_bytes"] < record["hbm_bytes"]
    assert record["argument_bytes"] >= record["parameter_bytes"] + record["input_bytes"]
    assert record["memory_bytes"] >= record["parameter_bytes"] + record["input_bytes"]


def test_a_wrong_shape_is_refused_before_compiling():
    from clipjax.errors import InputError
    from clipjax.plan import chips

    with pytest.raises(InputError, match="hosts of 2x2"):
        chips.topology("v5e:2x3")


def test_every_chip_is_known_to_the_compiler_and_quietly():
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cpu'\n"
        "from clipjax.plan import chips, compiling\n"
        "for t in ('v4:2x2x4', 'v5e:1x1', 'v5e:16x16', 'v5p:2x2x4', 'v6e:4x4'):\n"
        "    print(len(compiling.tpu_devices(chips.topology(t))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["16", "1", "256", "16", "16"], done.stderr


def test_the_largest_batch_lies_between_two_that_were_compiled():
    """An encoder of two layers, so that the search takes a minute."""
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cpu'\n"
        "import json\n"
        "from clipjax.models import catalog\n"
        "from clipjax.plan import chips, compiling, programs, report\n"
        "config = catalog.openai(512, catalog.vit(224, 16, 768, 1), catalog.text(64, layers=1))\n"
        "t = chips.topology('v5e:2x2'); d = compiling.tpu_devices(t)\n"
        "build = lambda n: programs.evaluation(config, d, n)\n"
        "print(json.dumps(report.plan(t, build, 64, 'bfloat16', largest='search')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["largest"]
    assert 64 < found["fits"] < found["fails"]
    assert found["peak_bytes"] < 16 * 2**30
    assert len(found["tried"]) <= 8
