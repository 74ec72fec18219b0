"""Every option of fine-tuning, in a run that is killed and goes on, and in one that goes on with another value.

A new key of the config has to be put into one of the lists here: what another value of it does to a run that goes on.
"""

import json
import random
import shutil

import pytest

from clipjax import stored
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.keys import flat
from clipjax.models import lowering
from clipjax.runs import begun, finetune_config
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.testing import pictures, tiny_model
from clipjax.train import loop, optimiser, order, step

NOTHING = """name threads parts remat scan devices fsdp log_every checkpoints.every checkpoints.keep
    checkpoints.best evaluate.every evaluate.share early_stopping probes profile.first profile.steps
    tensorboard wandb.project wandb.name export.dtype export.average export.zero_unseen_tokens""".split()
# What is compared are the images, captions and weights that they lead to (tests/runs/test_finetune.py).
CONTENTS = """model weights.activation weights.heads weights.text_heads weights.eps weights.mean weights.std
    weights.state_dict architecture data.id_column data.weight_column data.balance
    data.hard_negative_columns data.mixture data.validation_path classes templates validation_split""".split()
# Refused, or accepted by a flag and recorded.
RECORDED = """data.last_batch data.context augment.preset augment.scale augment.ratio augment.flip augment.turn
    augment.jitter augment.jitter_share augment.grey augment.square augment.flip_safe augment.background
    conventions seed steps epochs batch_size soft_targets precision lora.dropout ema_warmup
    optimizer.learning_rate optimizer.schedule optimizer.warmup optimizer.warmup_from optimizer.final
    optimizer.b1 optimizer.b2 optimizer.eps optimizer.weight_decay optimizer.decay optimizer.clip_norm
    optimizer.multipliers optimizer.layer_decay optimizer.logit_scale_min evaluate.batches""".split()
# Of what the state consists of: always refused.
REFUSED = """resize.image_size resize.context resize.positions loss tune lora.rank lora.alpha lora.on ema
    optimizer.name optimizer.freeze optimizer.batch_statistics""".split()

# Each value of these is in some run of the matrix.
AXES = {
    "tune": (*optimiser.TUNED, "last_blocks:1"), "optimizer.name": optimiser.OPTIMIZERS, "loss": step.LOSSES,
    "optimizer.schedule": optimiser.SCHEDULES, "remat": tuple(lowering.REMAT), "ema": (0.9, 0.0), "parts": (1, 2),
    "fsdp": (1, 2), "scan": (False, True), "soft_targets": (True, False), "precision": ("float32", "bfloat16"),
    "optimizer.decay": tuple(optimiser.DECAYS), "optimizer.warmup_from": optimiser.WARMUPS, "ema_warmup": (False, True),
    "data.last_batch": order.LAST_BATCH, "optimizer.clip_norm": (0.5, 0.0), "evaluate.share": (0.0, 0.3),
    "augment.square": (False, True),
}  # fmt: skip
OF_LORA = {"lora.dropout": (0.3, 0.0), "lora.on": ("attention+mlp+projections", "attention")}
ALL = {
    "steps": 4, "batch_size": 8, "seed": 5, "threads": 2, "devices": 2, "log_every": 1, "checkpoints.every": 2,
    "data.context": 12, "evaluate.every": 0, "evaluate.batches": 1, "lora.rank": 2, "lora.alpha": 3.0,
    "augment.scale": "(0.5,1.0)", "augment.ratio": "(0.8,1.25)", "augment.flip": 0.5, "augment.turn": 5.0,
    "augment.jitter": "(0.1,0.1,0.1,0.1)", "augment.jitter_share": 0.5, "augment.grey": 0.2, "augment.flip_safe": True,
    "augment.background": "random", "optimizer.learning_rate": 1e-3, "optimizer.warmup": 1, "optimizer.final": 1e-5,
    "optimizer.b1": 0.8, "optimizer.b2": 0.95, "optimizer.eps": 1e-7, "optimizer.weight_decay": 0.1,
    "optimizer.multipliers": "^visual=0.5", "optimizer.layer_decay": 0.9, "optimizer.logit_scale_min": 1.0,
    "optimizer.freeze": "^token_embedding",  # nine tenths of the parameters
}  # fmt: skip
ELSEWHERE = {
    "optimizer.batch_statistics": "of ResNets: the last run of the matrix",
    "augment.preset": "leaves no other key of augment to be read",
    "epochs": "steps by another name", "conventions": "other keys by another name",
    "resize.image_size": "of the weights that a run begins from", "resize.context": "the same",
    "resize.positions": "the same",
}  # fmt: skip
RUNS = 12
RESNET = {"model": "resnet", "optimizer.batch_statistics": True, "tune": "full", "remat": "none", "parts": 1}


def keys():
    """Every key but those of kinds of sources, which lead to images and captions."""
    every = configs.keys_of({"verb": "finetune"})
    sources = {f"data.{name}" for name in opening.every_key()}
    return {name: one for name, one in every.items() if name not in sources}


def test_every_key_is_in_one_list_and_in_a_run_that_goes_on():
    lists = [NOTHING, CONTENTS, RECORDED, REFUSED]
    assert sorted(name for one in lists for name in one) == sorted(keys())
    assert {*RECORDED, *REFUSED} <= {*AXES, *OF_LORA, *ALL, *ELSEWHERE}
    assert not {*ELSEWHERE} & {*AXES, *OF_LORA, *ALL}
    for name in {*AXES, *OF_LORA, *ALL} & {*RECORDED, *REFUSED}:
        values = {str(v) for v in (AXES | OF_LORA).get(name, (ALL.get(name),))}
        assert values - {str(keys()[name].default)}, name


def another(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"a": 1} if isinstance(value, dict) else (9.0,) if isinstance(value, tuple) else value + "x"


@pytest.mark.parametrize("name", [*NOTHING, *CONTENTS, *RECORDED, *REFUSED])
def test_another_value_is_passed_over_refused_or_recorded(name, tmp_path):
    resolved = configs.plain(finetune_config.finetune_config())
    options = begun.options_of(resolved)
    before = begun.Begun(options=options, data="d", pairs=1, model="m")
    changed = finetune_config.finetune_config()
    with changed.unlocked():
        changed.update_from_flattened_dict({name: another(keys()[name].default)})
    changed = configs.plain(changed)
    if name in NOTHING or name in CONTENTS:
        assert begun.check_options(tmp_path, before, changed, False) == []
        return
    with pytest.raises(InputError, match=rf"{name}: |{name}\.a: "):
        begun.check_options(tmp_path, before, changed, False)
    if name in REFUSED:
        with pytest.raises(InputError, match="moments are made for"):
            begun.check_options(tmp_path, before, changed, True)
        return
    (said,) = begun.check_options(tmp_path, before, changed, True)
    now = begun.Begun(options=begun.options_of(changed), data="d", pairs=1, model="m")
    (recorded,) = begun.going_on(tmp_path, before, now, 3, 1.0, True).changes
    assert recorded == {"step": 3, "changed": [said]}
    assert said.startswith(f"{name}: ")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("matrix")
    tiny_model(root / "vit.safetensors")
    tiny_model(root / "resnet.safetensors", "resnet", layers=1)
    pictures(root / "photos", {"cat": 16, "dog": 14, "fish": 10}, size=33)
    return root


def column(name):
    """The values of an axis over the runs, each as often as the others, in an order of its own."""
    values = [AXES[name][i % len(AXES[name])] for i in range(RUNS)]
    return values if name == "tune" else random.Random(name).sample(values, RUNS)


def chosen(i):
    """The options of run i."""
    cell = ALL | {name: column(name)[i % RUNS] for name in AXES}
    for name, values in OF_LORA.items():
        cell[name] = values[i // len(AXES["tune"]) % len(values)]
    if i == RUNS:
        cell |= RESNET
    unread = [n for n in ("b1", "b2", "eps") if n not in optimiser.READS[cell["optimizer.name"]]]
    leave = [f"optimizer.{n}" for n in unread]
    leave += ["optimizer.final"] if cell["optimizer.schedule"] == "constant" else []
    leave += [] if cell["ema"] else ["ema_warmup"]
    leave += [n for n in cell if n.startswith("lora.")] if cell["tune"] != "lora" else []
    leave += ["augment.scale", "augment.ratio"] if cell["augment.square"] else []
    leave += [] if cell["evaluate.share"] else ["evaluate.batches"]
    return {name: value for name, value in cell.items() if name not in leave}


def test_each_value_of_each_axis_is_in_some_run():
    runs = [chosen(i) for i in range(RUNS + 1)]
    for name, values in (AXES | OF_LORA).items():
        assert {run.get(name) for run in runs} >= set(values), name
    assert all(any(name in run for run in runs) for name in ALL)


class Killed(BaseException):
    """Nothing catches it, as nothing catches the end of a process."""


def finetune(places, out, cell, *more):
    words = [f"--config.{name}={value}" for name, value in cell.items() if name != "model"]
    model = places / f"{cell.get('model', 'vit')}.safetensors"
    data = ("--config.data.source=folder", f"--config.data.path={places / 'photos'}", "--config.templates=a {}|the {}")
    return main(["finetune", "openai_vit_b32_csv", f"--config.model={model}", *data, *words, f"--out={out}", *more])


@pytest.mark.parametrize("i", [pytest.param(i, marks=pytest.mark.exhaustive) for i in range(RUNS + 1)])
def test_a_killed_run_goes_on_to_the_same_bytes(places, tmp_path, monkeypatch, i):
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    cell, one_step = chosen(i), loop.Loop._one_step

    def killed(self):
        if self.step == 3:  # one step after a checkpoint
            raise Killed
        return one_step(self)

    assert finetune(places, tmp_path / "straight", cell) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_one_step", killed)
        with pytest.raises(Killed):
            finetune(places, tmp_path / "run", cell)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert finetune(places, tmp_path / "run", cell) == 0
    files = ["model.safetensors", *(["adapter/adapter_model.safetensors"] if cell["tune"] == "lora" else [])]
    for file in files:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes(), file
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")


def losses(out):
    return [
        (e["step"], e.get("loss"), e.get("gradient_norm"), e.get("fixed/loss"), e.get("validation/loss"))
        for e in stored.events(out / "log.jsonl")
        if "step" in e
    ]


@pytest.mark.exhaustive
def test_all_that_may_change_changes_at_once_and_is_recorded(places, tmp_path, monkeypatch):
    """The moments fit whatever changes, and the file of the run says what did, and when."""
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    first = {"steps": 2, "batch_size": 16, "devices": 2, "optimizer.warmup": 0, "tune": "lora", "ema": 0.9}
    assert finetune(places, tmp_path / "run", first) == 0
    cell = chosen(1) | {"ema_warmup": False, "data.last_batch": "carry", "soft_targets": False, "evaluate.share": 0.3}
    cell |= {"evaluate.batches": 1, "precision": "bfloat16", "optimizer.decay": "matrices", "lora.dropout": 0.2}
    cell |= {"optimizer.name": "adamw", "optimizer.warmup_from": "first", "optimizer.schedule": "linear"}
    cell |= {f"optimizer.{name}": ALL[f"optimizer.{name}"] for name in ("final", "b1", "b2", "eps")}
    cell |= {name: ALL[name] for name in ("augment.scale", "augment.ratio")}
    cell = {
        name: value for name, value in (cell | first | {"steps": 4, "batch_size": 8}).items() if name not in REFUSED
    }
    cell |= {"tune": "lora", "ema": 0.9, "optimizer.warmup": 1, "augment.square": False}
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    assert finetune(places, tmp_path / "other", cell) == 1
    assert finetune(places, tmp_path / "run", cell, "--accept-changes") == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    # evaluate.share takes images from those that train: other data, which is recorded too
    (change,) = manifest["changes"]
    assert change["step"] == 2
    named = {said.partition(":")[0] for said in change["changed"]}
    wanted = set(RECORDED) - {"augment.preset", "augment.square", "epochs", "conventions"}
    assert named - {"data"} == wanted
    assert flat(manifest["config"])["optimizer.b1"] == 0.8
