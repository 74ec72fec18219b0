"""`clipjax finetune` from config to weights file: going on, stopping, failing, and what is left on the disk."""

import dataclasses
import functools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from support.amount import EXHAUSTIVE

from clipjax import loading, parallel, stored
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.files import sha256
from clipjax.models import clip, weights
from clipjax.runs import begun, conventions, finetune_config
from clipjax.runs import config as configs
from clipjax.testing import pictures, tiny_config, tiny_model
from clipjax.train import loop, optimiser, step, writers

CONFIG = """
from ml_collections import ConfigDict
from clipjax.runs.finetune_config import finetune_config

def get_config():
    config = finetune_config()
    config.model = {model!r}
    config.data.source, config.data.path = "folder", {photos!r}
    config.templates = "a photo of a {{}}.|the {{}}"
    config.data.context = 12
    config.steps, config.batch_size, config.seed = 12, 8, 5
    config.augment.flip, config.augment.scale = 0.5, (0.5, 1.0)
    config.soft_targets, config.ema = True, 0.9
    config.optimizer.learning_rate, config.optimizer.warmup = 1e-3, 2
    config.optimizer.freeze = "^token_embedding"  # nine tenths of the parameters
    config.log_every, config.checkpoints.every, config.threads, config.devices = 2, 3, 2, 2
    config.probes = ConfigDict({{"zs": {{"config": "zeroshot", "every": 6,
        "set": "data.path={photos}|batch_size=4|classes=cat,dog,fish"}}}}) if {probes} else ConfigDict()
    return config
"""


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """Weights, 30 pictures, and two configs over them: plain.py, and probed.py with a probe on the way."""
    root = tmp_path_factory.mktemp("recipes")
    tiny_model(root / "tiny.safetensors", layers=1)
    photos = pictures(root / "photos", {"cat": 10, "dog": 12, "fish": 8}, size=33)
    for name, probes in (("plain", False), ("probed", True)):
        text = CONFIG.format(model=str(root / "tiny.safetensors"), photos=str(photos), probes=probes)
        (root / f"{name}.py").write_text(text)
    return root


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def finetune(recipes, out, *more, name="plain"):
    return main(["finetune", str(recipes / f"{name}.py"), f"--out={out}", *more])


def command(recipes, out, *more, before="pass", **environment):
    """The same in a process of its own, after the statement `before`; it finds the programs of this one."""
    code = f"import resource, sys; {before}; from clipjax.cli.main import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "finetune", str(recipes / "plain.py"), f"--out={out}", *more],
        env=os.environ | environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def events(out, stage="train"):
    return [e for e in stored.events(out / "log.jsonl") if e["stage"] == stage]


def wait_for_step(process, out, step):
    limit = time.monotonic() + 600
    while not any(e["step"] >= step for e in events(out)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.02)


def parameters(out):
    return weights.load(out / "model.safetensors").flat


@pytest.fixture(scope="module")
def straight(recipes, tmp_path_factory):
    """The run that nothing happened to."""
    out = tmp_path_factory.mktemp("straight") / "run"
    assert finetune(recipes, out) == 0
    return out


def test_the_run_and_its_file_say_what_they_are(recipes, straight, capsys):
    manifest = json.loads((straight / "manifest.json").read_text())
    assert manifest["counts"]["examples"] == 12 * 8
    assert manifest["counts"]["truncated"] == manifest["counts"]["replaced"] == 0
    assert manifest["weights"]["sha256"] == sha256(straight / "model.safetensors")
    assert [e["step"] for e in events(straight)] == [1, 2, 3, 4, 6, 8, 9, 10, 12]
    assert all(np.isfinite(e["loss"]) for e in events(straight))
    measured = {e["step"]: e["fixed/loss"] for e in events(straight, "evaluation")}
    assert set(measured) == {0, 12}  # one batch that never changes, before and after
    assert measured[12] < measured[0]
    found = weights.load(straight / "model.safetensors")
    assert found.name == "tiny-vit-finetuned"
    assert found.source["averaged"]
    assert found.source["step"] == 12
    assert found.source["trained"]["from"]["name"] == "tiny-vit"
    start = weights.load(recipes / "tiny.safetensors").flat
    assert all(not np.array_equal(found.flat[k], start[k]) for k in ("visual.proj", "text_projection", "logit_scale"))
    before = {p: p.stat().st_mtime_ns for p in straight.rglob("*")}
    assert finetune(recipes, straight) == 0  # again: nothing to do, nothing touched
    assert {p: p.stat().st_mtime_ns for p in straight.rglob("*")} == before


def test_a_run_that_is_told_to_stop_goes_on_bit_for_bit(recipes, straight, tmp_path, monkeypatch, capsys):
    """SIGTERM, as a scheduler sends it, between two of the checkpoints that are due."""
    out = tmp_path / "run"
    write = writers.Writer.write

    def asked_at_4(writer, stage, step, numbers):
        write(writer, stage, step, numbers)
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(writers.Writer, "write", asked_at_4)
        assert finetune(recipes, out) == 143
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("stopped at step 5 of 12; the same command goes on from there")
    )
    goes_on(recipes, straight, out, kept=5)


@pytest.mark.exhaustive  # tests/robustness kills what writes; here whatever was on its way in a process of its own
def test_a_killed_run_goes_on_bit_for_bit(recipes, straight, tmp_path):
    out = tmp_path / "run"
    # Slow enough to be hit in the middle: every step writes a checkpoint.
    process = command(recipes, out, "--config.checkpoints.every=1")
    wait_for_step(process, out, 5)
    process.kill()
    process.communicate(timeout=600)
    kept = max(int(p.name) for p in (out / "checkpoints").iterdir() if p.name.isdigit())
    assert 1 <= kept < 12
    shutil.copytree(out, tmp_path / "four")
    goes_on(recipes, straight, out, kept)
    # tests/train/test_checkpoints restores onto other layouts
    assert finetune(recipes, tmp_path / "four", "--config.devices=4") == 0
    # Sums over 4 parts instead of 2 differ in the last bits; Adam moves a parameter by 1e-3 at most a step.
    wanted = parameters(straight)
    for k, array in parameters(tmp_path / "four").items():
        np.testing.assert_allclose(array, wanted[k], rtol=0, atol=2e-5, err_msg=k)


def goes_on(recipes, straight, out, kept):
    """The same command again ends in the bytes of the run that nothing happened to."""
    assert not (out / "model.safetensors").exists()
    assert max(int(p.name) for p in (out / "checkpoints").iterdir() if p.name.isdigit()) == kept
    assert finetune(recipes, out) == 0
    wanted, found = parameters(straight), parameters(out)
    assert all(np.array_equal(found[k], wanted[k]) for k in wanted)
    logged = {e["step"]: e["loss"] for e in events(out)}
    assert all(logged[e["step"]] == e["loss"] for e in events(straight))
    assert len(events(out)) == len(logged)  # nothing told twice


@pytest.mark.exhaustive
def test_two_hosts_make_the_run_of_one_and_one_goes_on_alone(recipes, straight, tmp_path):
    out, pace = tmp_path / "run", "--config.checkpoints.every=4"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    hosts = []
    for i in range(2):
        flags = (f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={i}", "--config.devices=0")
        hosts.append(command(recipes, out, pace, *flags, JAX_NUM_CPU_DEVICES="1"))
    for host in hosts:
        told = host.communicate(timeout=600)[1]
        assert host.returncode == 0, told
    wanted = parameters(straight)
    for k, array in parameters(out).items():  # sums in another order
        np.testing.assert_allclose(array, wanted[k], rtol=0, atol=2e-5, err_msg=k)
    for name in ("manifest.json", "model.safetensors", "checkpoints/12"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert finetune(recipes, out, pace) == 0
    assert [e["step"] for e in events(out)] == [1, 2, 4, 6, 8, 10, 12]
    for k, array in parameters(out).items():
        np.testing.assert_allclose(array, wanted[k], rtol=0, atol=2e-5, err_msg=k)


def stopped(straight, out, step=9):
    """A copy of the whole run as if it had ended after this step."""
    shutil.copytree(straight, out)
    for name in ("manifest.json", "model.safetensors"):
        (out / name).unlink()
    for path in (out / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    return out


def test_another_config_is_not_a_continuation(recipes, straight, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    (out / "manifest.json").unlink()
    assert finetune(recipes, out, "--config.optimizer.learning_rate=0.1") == 1
    told = capsys.readouterr().err
    assert "another config (optimizer.learning_rate: 0.001 != 0.1)" in told
    assert "--accept-changes" in told
    assert finetune(recipes, out, "--config.ema=0.0", "--accept-changes") == 1  # moments have a structure
    assert "which its moments are made for" in capsys.readouterr().err
    assert finetune(recipes, out, "--config.log_every=1") == 0  # what changes no number may change


def test_more_steps_at_another_rate_with_the_moments_of_a_finished_run(recipes, straight, tmp_path):
    out = shutil.copytree(straight, tmp_path / "run")
    more = ("--config.steps=14", "--config.optimizer.learning_rate=1e-4")
    assert finetune(recipes, out, *more) == 1
    assert finetune(recipes, out, *more, "--accept-changes") == 0
    manifest = json.loads((out / "manifest.json").read_text())
    changed = ["optimizer.learning_rate: 0.001 != 0.0001", "steps: 12 != 14"]
    assert manifest["changes"] == [{"step": 12, "changed": changed}]
    assert manifest["counts"]["steps"] == 14
    assert [e["changed"] for e in events(out, "changed")] == [changed]
    assert [e["epoch"] for e in events(out)][-2:] == [4.0, 4.6667]  # the same stream of examples
    assert finetune(recipes, out, *more, "--accept-changes") == 0  # nothing to do, and nothing more to record
    assert json.loads((out / "manifest.json").read_text()) == manifest


def test_other_data_and_other_weights_do_not_go_on_silently(recipes, straight, tmp_path, capsys):
    """Compared by content: a copy elsewhere is the same data; the same path with an image less is not."""
    out = stopped(straight, tmp_path / "run")
    photos = shutil.copytree(recipes / "photos", tmp_path / "copies")
    moved = (f"--config.data.path={photos}",)
    weights_file = recipes / "tiny.safetensors"
    before = weights_file.read_bytes()
    tiny_model(weights_file, layers=1, seed=1)
    assert finetune(recipes, out, *moved) == 1
    assert "was begun with other weights" in capsys.readouterr().err
    weights_file.write_bytes(before)
    for image in sorted((photos / "dog").iterdir())[:4]:
        image.unlink()
    assert finetune(recipes, out, *moved) == 1
    told = capsys.readouterr().err
    assert "not those that it was begun with (data: 30 pairs, now 26 others)" in told
    assert len(told.splitlines()) == 1
    assert finetune(recipes, out, *moved, "--accept-changes") == 0
    assert json.loads((out / "manifest.json").read_text())["changes"] == [
        {"step": 9, "changed": ["data: 30 pairs, now 26 others"]}
    ]
    assert [e["epoch"] for e in events(out)][-2:] == [3.3333, 4.0]  # three epochs of 30 pairs, then one of 26
    again = stopped(straight, tmp_path / "again")
    assert finetune(recipes, shutil.copytree(straight, tmp_path / "done"), *moved) == 1  # complete, of other data
    assert "now 26 others" in capsys.readouterr().err
    photos = shutil.copytree(recipes / "photos", tmp_path / "whole")
    assert finetune(recipes, again, f"--config.data.path={photos}") == 0
    assert all(np.array_equal(array, parameters(straight)[k]) for k, array in parameters(again).items())


def test_numbers_of_other_validation_pairs_or_another_adapter_do_not_go_on_silently(tmp_path):
    """The best step is one of all measurements, and its weights are read with the config of today."""
    options = begun.options_of({"lora": {"alpha": 8.0}, "evaluate": {"batches": 8, "every": 5}})
    assert options == {"lora.alpha": 8.0, "evaluate.batches": 8}
    was = begun.Begun(options=options, data="d", pairs=1, model="m", validation="v")
    now = msgspec.structs.replace(was, validation="w")
    with pytest.raises(InputError, match="validation pairs are not those"):
        begun.going_on(tmp_path, was, now, 3, 1.0, False)
    assert begun.going_on(tmp_path, was, now, 3, 1.0, True).changes[0]["changed"] == ["validation pairs: others"]
    assert not begun.going_on(tmp_path, msgspec.structs.replace(was, validation=""), now, 3, 1.0, False).changes
    with pytest.raises(InputError, match=r"lora\.alpha: 8\.0 != 16\.0"):
        begun.check_options(tmp_path, was, {"lora": {"alpha": 16.0}, "evaluate": {"batches": 8}}, True)


def test_a_checkpoint_is_a_model_and_a_run_is_its_result(recipes, straight, tmp_path, capsys):
    half = shutil.copytree(straight, tmp_path / "half")
    assert finetune(recipes, half, "--config.export.dtype=float16") == 0  # of a complete run: written again
    assert weights.load(half / "model.safetensors").flat["visual.proj"].dtype == np.float16
    last, result = straight / "checkpoints" / "12", (straight / "model.safetensors").read_bytes()
    for source, name in ((last, "a"), (straight, "b")):
        assert main(["convert", str(source), str(tmp_path / f"{name}.safetensors")]) == 0
        assert (tmp_path / f"{name}.safetensors").read_bytes() == result
    earlier = loading.find_weights(straight / "checkpoints" / "9")
    assert earlier.source["step"] == 9
    assert not np.array_equal(earlier.flat["visual.proj"], parameters(straight)["visual.proj"])
    assert main(["models", str(last)]) == 0
    assert "training checkpoint" in capsys.readouterr().out
    assert loading.locate(straight) == straight / "model.safetensors"
    left = stopped(straight, tmp_path / "left")
    with pytest.raises(InputError, match=r"is not finished, and has no model.safetensors; name a checkpoint.*/9$"):
        loading.find_weights(left)
    (left / "checkpoints" / "9" / "state" / "_METADATA").write_text("{")
    with pytest.raises(InputError, match="cannot be read") as error:
        loading.find_weights(left / "checkpoints" / "9")
    assert "\n" not in str(error.value)


def test_a_loss_that_is_not_finite_ends_the_run_unsaved(recipes, tmp_path, monkeypatch, capsys):
    out, one_step = tmp_path / "run", loop.Loop._one_step

    def too_far(self):  # as with a learning rate of 1e30
        batch = one_step(self)
        self.state = jax.tree.map(lambda x: x * np.nan if jnp.issubdtype(x.dtype, jnp.inexact) else x, self.state)
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_one_step", too_far)
        assert finetune(recipes, out) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "step 2: loss nan" in told
    assert "there is no checkpoint yet" in told
    files = (out / "failed" / "step-00000002-host-0.txt").read_text().splitlines()
    assert len(files) == 8
    assert files[0] in told
    assert not (out / "model.safetensors").exists()
    assert finetune(recipes, out) == 0  # the folder is not spoilt


@pytest.mark.exhaustive
def test_a_full_disk_leaves_the_checkpoint_before(recipes, straight, tmp_path):
    out = shutil.copytree(straight, tmp_path / "run")  # as if ended after step 6
    for name in ("manifest.json", "model.safetensors"):
        (out / name).unlink()
    for number in (9, 12):
        shutil.rmtree(out / "checkpoints" / str(number))
    # A limit on file size fails like a full disk in the middle of a write, and needs no disk of its own.
    process = command(recipes, out, before="resource.setrlimit(resource.RLIMIT_FSIZE, (300_000,) * 2)")
    told = process.communicate(timeout=600)[1].splitlines()
    assert process.returncode == 1
    assert "a checkpoint cannot be written" in told[-1]
    assert not any("Traceback" in line for line in told)
    assert (out / "checkpoints" / "6").is_dir()
    assert not (out / "checkpoints" / "9").exists()
    assert finetune(recipes, out) == 0
    wanted, found = parameters(straight), parameters(out)
    assert all(np.array_equal(found[k], wanted[k]) for k in wanted)


def test_probes_run_on_the_way_and_choose_the_best_checkpoint(recipes, straight, tmp_path, capsys):
    out = tmp_path / "run"
    best = ("--config.checkpoints.best=zs/top1", "--config.checkpoints.keep=1")
    assert finetune(recipes, out, *best, name="probed") == 0
    found = events(out, "probe")
    assert [e["step"] for e in found] == [0, 6, 12]
    assert all(0 <= e["zs/top1"] <= 1 for e in found)
    values = {e["step"]: e["zs/top1"] for e in found}
    first = min(step for step in values if values[step] == max(values.values()))
    chosen = json.loads((out / "manifest.json").read_text())["best"]
    assert (chosen["metric"], chosen["step"], chosen["value"]) == ("zs/top1", first, values[first])
    assert sorted(int(p.name) for p in (out / "checkpoints").iterdir()) == sorted({first, 12})
    saved = weights.load(out / "best.safetensors")
    assert saved.source["step"] == first
    kept = loading.find_weights(out / "checkpoints" / str(first)).flat
    assert all(np.array_equal(array, kept[k]) for k, array in saved.flat.items())
    run = out / "probes" / "zs" / "step-00000012"
    records = {r["metric"]: r["value"] for r in json.loads((run / "metrics.json").read_text())["records"]}
    assert records["top1"] == found[-1]["zs/top1"]
    assert not list((out / "probes").glob(".*"))  # the weights of the moment are gone
    wanted = parameters(straight)
    assert all(np.array_equal(array, wanted[k]) for k, array in parameters(out).items())  # looking changes nothing
    assert finetune(recipes, tmp_path / "no", "--config.checkpoints.best=zs/top_1", name="probed") == 1
    told = capsys.readouterr().err
    assert 'checkpoints.best=zs/top_1: zs/top_1 is not measured; nearest: "zs/top1"' in told
    assert not list((tmp_path / "no" / "checkpoints").glob("[0-9]*"))
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert f"best.safetensors is step {first}: zs/top1 {values[first]:.4f}" in capsys.readouterr().out
    drawn = {p.stem for p in (out / "figures").glob("*.svg")}
    assert {"loss", "learning_rate", "gradient_norm", "logit_scale", "seconds_per_step", "zs_top1"} <= drawn
    page = (out / "report.html").read_text()
    assert "Probe zs, before (A) against after (B)" in page
    assert "optimizer.learning_rate" in page
    assert main(["compare", str(out), f"--out={tmp_path / 'compared'}"]) == 0
    assert (tmp_path / "compared" / "zs" / "compare.json").is_file()
    assert main(["report", str(out), str(straight)]) == 1
    assert f"a page of its own: clipjax report {out}; its probes are runs" in capsys.readouterr().err
    assert main(["compare", str(run), str(out)]) == 1
    assert "is a fine-tuning run, whose page is clipjax report" in capsys.readouterr().err


@pytest.mark.exhaustive
def test_adapters_go_on_bit_for_bit_and_are_saved_alone(recipes, tmp_path):
    """Of a run that was ended in the middle; the adapter folder, beside its base, is the same model."""
    lora = ("--config.tune=lora", "--config.lora.rank=2", "--config.lora.on=attention+mlp", "--config.lora.dropout=0.2")
    assert finetune(recipes, tmp_path / "straight", *lora) == 0
    out = stopped(tmp_path / "straight", tmp_path / "run", 6)
    shutil.rmtree(out / "adapter")
    assert finetune(recipes, out, *lora) == 0
    wanted, found = parameters(tmp_path / "straight"), parameters(out)
    assert all(np.array_equal(found[k], wanted[k]) for k in wanted)
    before = weights.load(recipes / "tiny.safetensors").flat
    changed = {name for name in wanted if not np.array_equal(wanted[name], before[name])}
    assert len(changed) == 9  # four matrices of each encoder's block, and the scale
    alone = loading.find_weights(out / "adapter").flat
    for name in wanted:  # the scale is not a part of an adapter
        assert np.allclose(alone[name], wanted[name], rtol=0, atol=1e-6) or name == "logit_scale"
    at = loading.find_weights(out / "checkpoints" / "6")
    assert at.config == weights.load(out / "model.safetensors").config
    assert finetune(recipes, out, *lora[:1], "--config.lora.rank=3") == 1


def test_a_run_is_made_again_to_the_last_bit(recipes, straight, tmp_path, capsys):
    assert main(["rerun", str(straight)]) == 0
    assert "Same: 38 tensors and 2 measured numbers, to the last bit." in capsys.readouterr().out
    other = shutil.copytree(straight, tmp_path / "run")
    flat = parameters(other)
    flat = dict(flat) | {"visual.proj": flat["visual.proj"] + np.float32(0.5)}
    weights.save(
        other / "model.safetensors", dataclasses.replace(weights.load(straight / "model.safetensors"), flat=flat)
    )
    assert main(["rerun", str(other)]) == 3
    assert "visual.proj: by up to 0.5" in capsys.readouterr().out


def test_a_panel_with_a_trained_model_has_what_a_paper_needs(recipes, straight, tmp_path, capsys):
    """Before against after on the same images, whose answers changed, learning curves and the recipe."""
    table = "file,label,size\n" + "".join(
        f"{path},{path.parent.name},{'odd' if i % 2 else 'even'}\n"
        for i, path in enumerate(sorted((recipes / "photos").rglob("*.jpg")))
    )
    (tmp_path / "photos.csv").write_text(table)
    (tmp_path / "tasks.py").write_text(PANEL.format(csv=str(tmp_path / "photos.csv")))
    models = f"--config.models=tiny={recipes / 'tiny.safetensors'}, tuned={straight}"
    assert main(["panel", str(tmp_path / "tasks.py"), models, f"--out={tmp_path / 'page'}"]) == 0
    assert "What was trained" in capsys.readouterr().out
    tables = {path.stem: path.read_text() for path in (tmp_path / "page" / "tables").glob("*.csv")}
    counts = json.loads((straight / "manifest.json").read_text())["counts"]
    flat = weights.load(recipes / "tiny.safetensors").flat
    frozen = sum(x.size for name, x in flat.items() if name.startswith("token_embedding"))
    assert counts["parameters"] == sum(x.size for x in flat.values())
    assert counts["trained_parameters"] == counts["parameters"] - frozen
    assert f"{counts['trained_parameters']:,} of {counts['parameters']:,}" in tables["trained"]
    (paired,) = tables["before_and_after"].splitlines()[1:]
    assert paired.startswith("tuned,photos,animals,accuracy,")
    changed = [line.split(",") for line in tables["changed_answers"].splitlines()[1:]]
    assert [row[:4] for row in changed] == [
        ["photos", "animals", group, "tuned"] for group in ("all images", "size even", "size odd")
    ]
    assert int(changed[0][4]) == sum(int(row[4]) for row in changed[1:])
    assert "optimizer.learning_rate,0.001" in tables["recipes"]
    assert str(recipes) not in tables["recipes"]  # nobody else's paths
    assert (tmp_path / "page" / "figures" / "fixed_loss.svg").exists()


PANEL = """
from clipjax.runs.panel_config import panel_config


def get_config(arg=""):
    config = panel_config()
    photos = {{"source": "csv", "csv": "{csv}", "label_column": "label", "group_columns": "size"}}
    config.data_sets = {{"photos": photos}}
    config.probes = {{"animals": {{"config": "zeroshot", "classes": "cat,dog,fish", "show": "top1"}}}}
    config.every = {{"batch_size": 4}}
    return config
"""


def test_the_last_lines_work_as_they_stand(recipes, straight, tmp_path, capsys, monkeypatch):
    """Of the run made again, so that it prints them; paths hold no blank that a shell would cut at."""
    out = stopped(straight, tmp_path / "run")
    assert finetune(recipes, out) == 0
    said = capsys.readouterr().out
    commands = [shlex.split(line.strip()) for line in said.splitlines() if line.startswith("  clipjax ")]
    assert [words[1] for words in commands] == ["probe", "probe", "compare"]
    for words in commands:
        assert main(words[1:]) == 0
    assert (tmp_path / "run-comparison" / "report.html").is_file()
    assert f"clipjax report {out}" in said


def test_validation_chooses_the_best_step_and_ends_the_run(recipes, straight, tmp_path, capsys):
    """A rate that only harms: the first measurement stays the best, and training ends after two worse ones."""
    out = tmp_path / "run"
    best = ("--config.checkpoints.best=-validation/loss", "--config.early_stopping=2", "--config.evaluate.every=2")
    held = ("--config.evaluate.share=0.3", "--config.optimizer.learning_rate=0.3", "--config.ema=0.0")
    assert finetune(recipes, out, *best, *held) == 0
    said = capsys.readouterr().out
    losses = {e["step"]: e["validation/loss"] for e in events(out, "evaluation") if "validation/loss" in e}
    first = min(losses, key=lambda step: (losses[step], step))
    manifest = json.loads((out / "manifest.json").read_text())
    assert max(losses) == first + 4 == manifest["counts"]["steps"] < 12
    assert manifest["ended_early"]
    assert manifest["best"]["step"] == first
    assert f"{first + 4} steps of 8 (of 12: checkpoints.best did not improve)" in said
    assert f"best.safetensors, of step {first}, the best by -validation/loss" in said


@pytest.mark.exhaustive
def test_a_model_of_another_size_is_a_model_for_every_command(recipes, tmp_path, capsys):
    """Its exported configuration has the new sizes; a run goes on with them, and not with others."""
    out, more = tmp_path / "run", ("--config.resize.image_size=48", "--config.resize.context=16", "--config.steps=3")
    assert finetune(recipes, out, *more) == 0
    found = weights.load(out / "model.safetensors")
    assert (found.config.image.image_size, found.config.text.context_length) == (48, 16)
    assert found.flat["visual.positional_embedding"].shape[0] == 37
    assert found.source["trained"]["from"]["resized"] == {"image_size": 48, "context": 16}
    assert main(["convert", str(out), str(tmp_path / "hf"), "--to=huggingface"]) == 0
    assert loading.find_weights(tmp_path / "hf").config == found.config
    probe = ["probe", "zeroshot", f"--config.data.path={recipes / 'photos'}", f"--config.model={out}"]
    assert main([*probe, f"--out={tmp_path / 'probe'}"]) == 0
    assert finetune(recipes, out, *more[:2], "--config.steps=4", "--accept-changes") == 0
    assert finetune(recipes, out, "--config.resize.image_size=56", *more[1:], "--accept-changes") == 1
    assert "resize.image_size: 48 != 56" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["sigmoid", "ring_softmax"])
def test_losses_by_name_and_a_frozen_image_encoder(recipes, tmp_path, loss):
    out = tmp_path / "run"
    profile = ("--config.profile.first=1", "--config.profile.steps=1")
    more = (*profile, "--config.steps=3", "--config.optimizer.freeze=^visual\\.", "--config.export.dtype=float16")
    assert finetune(recipes, out, f"--config.loss={loss}", "--config.ema=0.0", *more) == 0
    assert list((out / "profile").rglob("*.xplane.pb"))
    found, start = weights.load(out / "model.safetensors"), weights.load(recipes / "tiny.safetensors").flat
    assert ("logit_bias" in found.flat) == found.config.logit_bias == (loss == "sigmoid")
    assert not found.source["averaged"]
    for name, array in found.flat.items():
        assert array.dtype == np.float16
        if name == "logit_bias":
            continue
        assert np.array_equal(array, start[name].astype(np.float16)) == (name.startswith("visual.")) or name in (
            "token_embedding.weight", "positional_embedding"
        ), name  # fmt: skip


def test_from_scratch_unknown_words_say_nothing(recipes, tmp_path):
    text = (recipes / "plain.py").read_text().replace("    return config", """
    from clipjax.models.config import to_dict
    from clipjax.testing import tiny_config
    config.model, config.architecture, config.name = "", ConfigDict(to_dict(tiny_config(layers=1))), "mine"
    config.export.zero_unseen_tokens, config.optimizer.freeze, config.steps = True, "", 3
    return config""")  # fmt: skip
    (tmp_path / "scratch.py").write_text(text)
    assert main(["finetune", str(tmp_path / "scratch.py"), f"--out={tmp_path / 'run'}"]) == 0
    found = weights.load(tmp_path / "run" / "model.safetensors")
    assert found.name == "mine"
    rows = np.flatnonzero(np.abs(found.flat["token_embedding.weight"]).sum(1))
    assert 8 <= len(rows) <= 14  # a photo of the cat dog fish . start end


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.data.path=/nowhere"], "/nowhere"),
        (["--config.batch_size=31"], "batch_size=31 does not divide over 2 devices"),
        (["--config.batch_size=0", "--config.epochs=1.0"], "batch_size=0 is not positive"),
        (["--config.batch_size=32"], "more than the 30 pairs"),
        (["--config.resize.image_size=33"], "image size 33 is not a multiple of the patch size 8"),
        (["--config.resize.positions=keep"], "resize.positions=keep is of a shorter context"),
        (["--config.epochs=2.0"], "steps=12 is not read with epochs=2: leave it out, or set steps=1000"),
        (["--config.data.context=78"], "reads 77 tokens"),
        (["--config.loss=triplet"], "unknown loss 'triplet'"),
        (["--config.optimizer.freeze=^nothing"], "matches no parameter"),
        (["--config.optimizer.multipliers=visual"], "is not REGEX=NUMBER"),
        (["--config.model="], "either config.model"),
        (["--config.fsdp=3"], "fsdp=3"),
        (["--config.devices=9"], "1 to 4 on one host"),
        (["--config.remat=some"], "unknown rematerialisation 'some'"),
        (["--config.export.dtype=int8"], "export.dtype='int8'"),
        (["--config.checkpoints.keep=0"], "at least the last one"),
        (["--config.checkpoints.best=-loss"], "the losses of two batches differ in their images: loss is not measured"),
        (["--config.checkpoints.best=-validation/loss"], 'is not measured; nearest: "fixed/loss"; what is: fixed/loss'),
        (["--config.checkpoints.best=fixed/loss"], "the largest loss; the lowest is -fixed/loss"),
        (["--config.optimizer.name=adafactor", "--config.optimizer.b2=0.9"], "b2=0.9 is not read with optimizer.name"),
        (["--config.optimizer.schedule=constant", "--config.optimizer.final=1e-6"], "not read with optimizer.schedule"),
        (["--config.export.average=False", "--config.ema=0.0"], "export.average=False is not read with ema=0"),
        (["--config.evaluate.batches=2"], "evaluate.batches=2 is not read with no validation pairs"),
        (["--config.evaluate.batches=-1"], "evaluate.batches=-1 is negative"),
        (["--config.tune=prompts"], "tune='prompts'; choose full, lora"),
        (["--config.tune=lora", "--config.lora.on=heads"], "choose attention, mlp, projections"),
        (["--config.lora.rank=4"], "lora.* is read with tune=lora; this config has tune=full"),
        (["--config.optimizer.batch_statistics=True", "--config.parts=2"], "parts=1 and remat=none"),
        (["--config.early_stopping=2"], "early_stopping needs checkpoints.best"),
        (["--config.evaluate.share=1.0"], "from 0 to below 1"),
        (["--config.data.last_batch=keep"], "drop or carry"),
        (["--config.templates=a photo"], "write {} once"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_result(recipes, tmp_path, capsys, more, message):
    assert finetune(recipes, tmp_path / "run", *more) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_every_shipped_config_loads_and_makes_its_recipe():

    @functools.cache
    def zeros(kind):
        shapes = jax.eval_shape(lambda: clip.init(tiny_config(kind, layers=1), jax.random.key(0)))
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

    shipped = configs.shipped("finetune")
    assert set(shipped) == {"openai_vit_b32_csv", "lit", "rn50_frozen_bn", "siglip_ring", "emoji_from_scratch"}
    for name in shipped:
        config = configs.typed(configs.plain(configs.load(name, [], "finetune")))
        assert bool(config.model) != bool(config.architecture)
        finetune_config.augmentation(config)
        options, recipe = finetune_config.step_options(config), finetune_config.optimiser_options(config)
        assert recipe.steps == config.steps
        kind = "resnet" if name in ("rn50_frozen_bn", "emoji_from_scratch") else "vit"
        params = zeros(kind)
        frozen = {n for n, yes in optimiser.trainable(params, recipe.freeze).items() if not yes}
        assert any(n.startswith("visual.") for n in frozen) == (name in ("lit", "rn50_frozen_bn", "emoji_from_scratch"))
        step.start(params, options, recipe, parallel.training_mesh())
    assert configs.load("lit:RN50", [], "finetune").model == "RN50"
    with pytest.raises(InputError, match='nearest: "lit"'):
        configs.load("litt", [], "finetune")


def test_conventions_change_what_was_left_at_its_default(recipes, tmp_path, capsys):
    given = configs.load("lit", ["--config.conventions=open_clip", "--config.optimizer.clip_norm=2.0"], "finetune")
    found = conventions.applied(given).optimizer
    assert (found.warmup_from, found.clip_norm, found.logit_scale_min) == ("first", 2.0, 1.0)
    assert not conventions.applied(given).soft_targets
    assert configs.plain(conventions.applied(conventions.applied(given))) == configs.plain(conventions.applied(given))
    (said,) = conventions.notes(given, configs.plain(conventions.applied(given)))
    assert said.startswith("conventions=open_clip sets ")
    assert "soft_targets=False" in said
    assert "clip_norm" not in said
    assert finetune(recipes, tmp_path / "run", "--config.conventions=openclip") == 1
    assert 'choose open_clip or openai; nearest: "open_clip"' in capsys.readouterr().err


def test_probes_are_named_by_flags_too():
    def probes(*words):
        config = configs.load("openai_vit_b32_csv", [f"--config.probes.{word}" for word in words], "finetune")
        return finetune_config.probe_configs(configs.typed(configs.plain(config)))

    every, probe = probes("people.config=rates", "people.set=data.csv=people.csv|batch_size=4")["people"]
    assert (every, probe.probe, probe.data.csv, probe.batch_size) == (0, "rates", "people.csv", 4)
    assert probes("a.config=zeroshot", "a.every=50")["a"][0] == 50
    for word, said in (
        ("a.cofig=x", "unknown key 'cofig'"),
        ("a=3", "has keys of its own"),
        ("a.every=2", "needs config"),
    ):
        with pytest.raises(InputError, match=said):
            probes(word)


def test_epochs_are_whole_batches_and_no_augmentation_is_one_key(recipes, capsys):
    def config(*overrides):
        return configs.typed(configs.plain(configs.load(str(recipes / "plain.py"), overrides, "finetune")))

    assert finetune_config.with_steps(config("--config.epochs=2.0"), 30).steps == 6  # three batches of 8, 6 left out
    carried = config("--config.epochs=2.0", "--config.data.last_batch=carry")
    assert finetune_config.with_steps(carried, 30).steps == 8  # 7.5
    assert finetune_config.with_steps(config(), 30).steps == 12
    plain = ("--config.augment.preset=none", "--config.augment.flip=0.0")
    assert finetune_config.augmentation(config(*plain, "--config.augment.scale=(0.9,1.0)")) is None
    for more, message in (
        ([], r"augment.scale=\(0.5, 1.0\) is not read with augment.preset=none.*set augment.scale=\(0.9, 1.0\)"),
        (["preset="], ""), (["preset=flipsafe"], 'nearest: "flip_safe"'),
        (["preset=", "square=True"], "scale=.* is not read with augment.square=True"),
        (["preset=", "flip_safe=True"], "flip_safe=True is not read with augment.flip=0"),
        (["preset=", "jitter_share=0.3"], "jitter_share=0.3 is not read with augment.jitter"),
    ):  # fmt: skip
        changed = config(*plain, *(f"--config.augment.{one}" for one in more))
        if not message:
            assert finetune_config.augmentation(changed).scale == (0.5, 1.0)
            continue
        with pytest.raises(InputError, match=message):
            finetune_config.augmentation(changed)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", "optimizer.learning_rate"),
        ("force_image_size", "resize.image_size"),
        ("accum_freq", "parts"),
        ("clip_norm", "optimizer.clip_norm"),
    ],
)
def test_keys_of_other_libraries_are_named(recipes, tmp_path, capsys, key, meant):
    assert finetune(recipes, tmp_path / "run", f"--config.{key}=1") == 1
    told = capsys.readouterr().err
    assert f"has no key {key!r}; it is called {meant}; --keys lists all" in told


def test_a_retrieval_probe_on_the_way_asks_captions_as_they_are_trained(recipes):
    config = configs.typed(configs.plain(configs.load(str(recipes / "plain.py"), [], "finetune")))
    probe = {"r": {"config": "retrieval", "every": 0}, "s": {"config": "retrieval", "every": 0, "set": "prefix=a "}}
    for templates, prefix in (("{}", ""), ("an image of {}", "an image of "), ("a {}.", ""), ("{}|the {}", "")):
        found = finetune_config.probe_configs(dataclasses.replace(config, templates=templates, probes=probe))
        assert found["r"][1].prefix == prefix
        assert found["s"][1].prefix == "a"  # as written, without blanks at its ends


def test_a_caption_table_with_everything_wrong_with_it(recipes, tmp_path, capsys):
    photos = sorted((recipes / "photos" / "dog").glob("*.jpg"))
    rows = [f"{p},a dog number {i}" for i, p in enumerate(photos)]
    rows[3] = f"{photos[3]},"
    rows[4] = f"{photos[4]},{'word ' * 10_000}"
    rows[5] = f"{tmp_path / 'gone.jpg'},a dog that left"
    (tmp_path / "captions.csv").write_text("\n".join(["file,caption", *rows]) + "\n")
    table = ("--config.data.source=csv", f"--config.data.csv={tmp_path / 'captions.csv'}", "--config.data.path=")
    column = "--config.data.caption_columns=caption"
    assert finetune(recipes, tmp_path / "a", *table, "--config.data.caption_columns=captoin") == 1
    assert 'no column "captoin"; nearest: "caption"' in capsys.readouterr().err
    assert finetune(recipes, tmp_path / "a", *table, column) == 1
    refused = capsys.readouterr().err
    assert "of 16 images cannot be read" in refused
    assert "skip more: --config.data.max_skipped=0.5" in refused
    assert finetune(recipes, tmp_path / "a", *table, column, "--config.data.max_skipped=0.3") == 0
    counts = json.loads((tmp_path / "a" / "manifest.json").read_text())["counts"]
    assert len(counts["without_caption"]) == 1
    assert counts["truncated"] > 0
    assert counts["replaced_files"] == [str(tmp_path / "gone.jpg")]
    commands = [shlex.split(line.strip()) for line in capsys.readouterr().out.splitlines() if "clipjax" in line[:10]]
    assert [c[1] for c in commands] == ["probe", "probe", "compare"]
    if EXHAUSTIVE:
        assert [main(c[1:]) for c in commands] == [0, 0, 0]
