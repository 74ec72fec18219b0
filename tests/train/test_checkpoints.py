"""The adapter over Orbax: what is kept, what is ignored, and any layout back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.models import trained
from clipjax.train.checkpoints import Checkpoints


def state(devices=4, value=0.0):
    mesh = parallel.training_mesh(1, jax.devices()[:devices])
    layout = {"a": NamedSharding(mesh, P("data")), "step": NamedSharding(mesh, P())}
    return jax.device_put({"a": jnp.arange(64.0) + value, "step": jnp.int32(3)}, layout), layout


def test_the_last_and_the_best_are_kept(tmp_path):
    kept = Checkpoints(tmp_path / "c", keep=2, metric="-loss")
    assert kept.latest is None
    for step, loss in ((1, 5.0), (2, 1.0), (3, 3.0), (4, 2.0), (5, 4.0)):
        kept.save(step, state(value=step)[0], {"next_index": 10 * step}, {"loss": loss})
    kept.wait()
    assert (kept.steps, kept.latest) == ([2, 4, 5], 5)
    like, layout = state(2)
    found, data = kept.restore(2, like, layout)
    assert data == {"next_index": 20}
    np.testing.assert_array_equal(found["a"], np.arange(64.0) + 2)
    assert found["a"].sharding.is_equivalent_to(layout["a"], 1)
    kept.close()


def test_the_highest_and_runs_without_the_number(tmp_path):
    kept = Checkpoints(tmp_path / "c", keep=1, metric="zs/top1")
    for step, metrics in enumerate(({}, {"zs/top1": 0.5}, {"zs/top1": 0.9}, {"zs/top1": 0.7}, {})):
        kept.save(step, state()[0], {"next_index": step}, metrics)
    kept.wait()
    assert kept.steps == [2, 4]
    kept.close()


def test_of_equal_numbers_the_earliest_is_the_best_and_unmeasured_steps_are_not_ranked(tmp_path):
    kept = Checkpoints(tmp_path / "c", keep=1, metric="zs/top1", about={"said": [1]})
    for step, metrics in enumerate(
        ({"zs/top1": 0.5}, {"zs/top1": 0.9}, {"zs/top1": 0.9}, {"zs/top1": float("nan")}, {})
    ):
        kept.save(step, state()[0], {"next_index": step}, metrics)
    kept.wait()
    assert (kept.steps, kept.best) == ([1, 4], 1)
    assert trained.custom_metadata(tmp_path / "c" / "1") == {"said": [1]}
    kept.close()
    kept = Checkpoints(tmp_path / "c", metric="other")
    assert kept.best is None
    kept.close()


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path):
    folder = tmp_path / "c"
    kept = Checkpoints(folder)
    kept.save(1, state()[0], {"next_index": 1})
    kept.close()
    left = folder / "2.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "half").write_bytes(b"x")
    kept = Checkpoints(folder)
    assert kept.steps == [1]
    assert not left.exists()
    kept.close()


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    folder = tmp_path / "c"
    kept = Checkpoints(folder)
    kept.save(1, state()[0], {"next_index": 1})
    kept.wait()
    for file in (folder / "1" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written or read") as error:
        kept.restore(1, *state())
    assert "\n" not in str(error.value)
    kept.close()
    with pytest.raises(InputError, match="at least the last one"):
        Checkpoints(folder, keep=0)
