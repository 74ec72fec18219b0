"""Chips, rooflines, the search for a batch, and every line a wrong word gets."""

import dataclasses
import json

import jax
import pytest

from clipjax.cli import main
from clipjax.errors import InputError
from clipjax.plan import chips, compiling, hlo, programs, report, search
from clipjax.testing import tiny_config
from clipjax.train import step

V5E = chips.topology("v5e:2x2").chip


def test_roofline_takes_the_longest_of_three():
    products = report.roofline(V5E, 197e12, 1, 1, "bfloat16")
    assert (products.seconds, products.bound) == (pytest.approx(1.0), "products")
    memory = report.roofline(V5E, 1, 2 * 819e9, 1, "bfloat16")
    assert (memory.seconds, memory.bound) == (pytest.approx(2.0), "memory")
    network = report.roofline(V5E, 1, 1, 3 * 200e9, "bfloat16")
    assert (network.seconds, network.bound) == (pytest.approx(3.0), "network")


def test_float32_has_its_own_peak_on_a_gpu():
    h100 = chips.topology("h100:1").chip
    assert report.roofline(h100, 989.4e12, 0, 0, "float32").seconds == pytest.approx(2.0)
    assert report.roofline(h100, 989.4e12, 0, 1e12, "bfloat16").seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("v5e:4x4", 16),
        ("V5E:16x16", 256),
        ("v5p:2x2x4", 16),
        ("v6e:1x1", 1),
        ("v4:2x2x1", 4),
        ("h100:8", 8),
        ("h200:1", 1),
    ],
)
def test_topologies(text, size):
    found = chips.topology(text)
    assert found.size == size
    assert str(found) == text.lower()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("v5f:2x2", "unknown chip 'v5f' in 'v5f:2x2'; nearest: \"v5"),
        ("h10:8", 'nearest: "h100"'),
        ("v5e", "topology 'v5e': write chip and shape, as in v5e:4x4"),
        ("v5e:4by4", "write chip and shape, as in v5e:4x4"),
        ("v5e:0x4", "write chip and shape"),
        ("v5p:4x4", "a shape of v5p is three numbers, as in v5p:2x2x4; the nearest is v5p:2x2x4"),
        ("h100:2x8", "a shape of h100 is a number of GPUs, as in h100:8"),
        ("v5e:3x3", "v5e comes in hosts of 2x2 chips; the nearest is v5e:2x4"),
        ("v6e:32x32", "v6e comes in at most 256 chips; the nearest is v6e:16x16"),
    ],
)
def test_a_wrong_topology_gets_one_line(text, line):
    with pytest.raises(InputError) as error:
        chips.topology(text)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def compiled(peak):
    return compiling.Compiled(0, 0, peak, 0, peak, 0.0, 0.0, 0, [], 0.0)


@pytest.mark.parametrize("limit", [0, 1, 63, 64, 1000, 12_345, 10**9])
@pytest.mark.parametrize("overhead", [0, 777])
@pytest.mark.parametrize("per", [1, 4])
def test_the_search_ends_between_neighbours(limit, overhead, per):
    """Memory that bends, a limit that the first guess has wrong, a refusal that may not say what there was."""
    asked = []

    def compile_at(batch):
        asked.append(batch)
        if batch > limit:
            raise compiling.DoesNotFit("Ran out of memory")
        return compiled(overhead + batch * 100 + batch**2 // 50)

    found = search.largest(compile_at, 64, 10**6, per)
    assert len(asked) == len(set(asked)) <= 16
    assert all(n % per == 0 for n in asked)
    if found.fits:
        assert found.fits <= limit
        assert found.fits >= search.MOST or search.above(found.fits, per) >= found.fails > limit
    else:
        assert limit < per or limit == 0


def test_linear_memory_takes_few_compilations():
    def compile_at(batch):
        if 10 * 2**20 + batch * 2**20 > 2**34:
            raise compiling.DoesNotFit("RESOURCE_EXHAUSTED: temporaries (17G) exceeds available HBM (15.75G)")
        return compiled(10 * 2**20 + batch * 2**20)

    found = search.largest(compile_at, 64, 2**35)  # twice what there is, until the compiler says so
    assert (found.fits, found.fails) == (15_360, 16_384)
    assert found.tried == (64, 256, 30_720, 15_360, 16_384)


def test_the_largest_batch_is_predicted_from_two_compilations():
    asked = []

    def compile_at(batch):
        asked.append(batch)
        if 10 * 2**20 + batch * 2**20 > 2**34:
            raise compiling.DoesNotFit("RESOURCE_EXHAUSTED: temporaries (17G) exceeds available HBM (15.75G)")
        return compiled(10 * 2**20 + batch * 2**20)

    assert search.predict(compile_at, 64, 2**34, 1, {64: compile_at(64)}) == (15_360, [64, 256])
    assert asked == [64, 256]
    asked.clear()
    # four times as many do not fit: half as many, and never more than what was refused
    assert search.predict(compile_at, 15_000, 2**36, 1, {15_000: compile_at(15_000)})[0] == 15_360
    assert asked == [15_000, 57_344, 7168]
    assert search.predict(compile_at, 30_000, 2**34, 1, {})[1] == [7168, 14_336]
    assert search.predict(compile_at, 1, 2**34, 1, {1: compiled(2**34)})[1] == [1, 4]
    assert search.predict(compile_at, 10**6, 2**34, 1, {}) == (0, [])


def test_the_grid_has_eight_sizes_a_doubling():
    assert [search.grid(n) for n in (0.5, 7, 100, 1023, 1024)] == [0, 7, 96, 960, 1024]
    assert [search.above(n) for n in (7, 96, 960, 1024)] == [8, 104, 1024, 1152]
    assert search.grid(1023, per=3) == 960
    assert search.above(8, per=4) == 12


def test_a_refusal_says_what_there_was():
    line = "RESOURCE_EXHAUSTED: the total memory required (32.09G) exceeds available HBM (15.75G)."
    assert compiling.DoesNotFit(line).available == int(15.75 * 2**30)
    assert compiling.DoesNotFit("Used 17.00G of 15.75G hbm.").available == int(15.75 * 2**30)
    assert compiling.DoesNotFit("Ran out").available == 0


def test_a_step_that_is_compiled_here(monkeypatch):
    """The whole record on virtual devices: what the TPU path does, with XLA:CPU in its place."""
    build = lambda n: programs.evaluation(tiny_config(), jax.devices()[:4], n)  # noqa: E731
    record = report.plan(chips.topology("v5e:2x2"), build, 8, "bfloat16")
    flat = 4 * sum(x.size for x in build(8).arguments[0].values())
    assert record["parameter_bytes"] == flat
    assert record["input_bytes"] == 8 * 32 * 32 * 3 * build(8).arguments[1].dtype.itemsize
    assert record["argument_bytes"] == flat + record["input_bytes"]
    assert record["peak_bytes"] >= record["argument_bytes"] + record["activation_bytes"]
    assert record["collectives"] == []
    assert record["images_per_second"] == pytest.approx(32 / record["roofline_seconds"])
    assert record["imagenet_seconds"] == pytest.approx(1563 * record["roofline_seconds"])  # 50,000 / 32, rounded up
    text = report.as_text({"model": "tiny", "step": "evaluation step"} | record, decode=100.0)
    assert "collectives" in text
    assert f"{record['images_per_second_per_chip'] / 100:,.1f} cores a chip" in text
    json.dumps(record)


def test_loops_cost_what_they_run(monkeypatch):
    """XLA counts the ring's body once; the record's FLOPs have all its turns, its ratio compares like with like."""
    options = programs.options("ring_softmax", "float32", "none", 1, False)
    step = programs.training(tiny_config(), jax.devices()[:4], 8, options)
    found = dataclasses.replace(compiled(0), flops=float(step.flops_once) * 1.01)
    record = report._compiled(V5E, step, found, "float32")
    assert record["flops_ratio"] == pytest.approx(1.01)
    assert record["flops"] == found.flops + 3 * 4 * 2 * 8 * 8 * 32
    assert record["roofline"]["products"] == pytest.approx(record["flops"] / 197e12)
    assert "imagenet_seconds" not in record


def test_an_update_that_is_compiled_here():
    options = programs.options("ring_softmax", "float32", "none", 1, False)
    build = lambda n: programs.training(tiny_config(layers=1), jax.devices()[:4], n, options, fsdp=2)  # noqa: E731
    record = report.plan(chips.topology("v5e:2x2"), build, 4, "float32")
    kinds = {c["kind"] for c in record["collectives"]}
    assert {"collective-permute", "all-reduce", "all-gather"} <= kinds
    assert record["state_bytes"] > 1.9 * record["parameter_bytes"]  # two moments
    assert "pairs/s" in report.as_text({"model": "tiny", "step": "training step"} | record)


def test_what_does_not_fit_is_told(monkeypatch):
    def refuse(_):
        raise compiling.DoesNotFit("RESOURCE_EXHAUSTED: exceeds available HBM (15.75G)")

    monkeypatch.setattr(compiling, "compiled", refuse)
    build = lambda n: programs.evaluation(tiny_config(), jax.devices()[:4], n)  # noqa: E731
    record = report.plan(chips.topology("v5e:2x2"), build, 8, "bfloat16", largest="search")
    assert record["largest"]["fits"] == 0
    assert record["largest"]["fails"] == 1
    text = report.as_text({"model": "tiny", "step": "evaluation step"} | record)
    assert "does not fit" in text
    assert "none fits; 1 does not" in text


def run(capsys, *arguments):
    status = main.main(["plan", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model=RN50", "--topology=v5x:2x2"], "unknown chip 'v5x'"),
        (["--model=RN50x3", "--topology=h100:4"], 'nearest: "RN50x4"'),
        (["--model=RN50", "--topology=h100:4", "--batch=0"], "--batch=0 is not positive"),
        (["--model=RN50", "--topology=h100:4", "--train", "--loss=ringg"], "unknown loss 'ringg'"),
        (["--model=RN50", "--topology=h100:4", "--train", "--fsdp=3"], "fsdp=3 does not divide 4 devices"),
        (["--model=RN50", "--topology=h100:4", "--train", "--parts=5"], "64 a chip does not divide into 5 parts"),
        (["--model=RN50", "--topology=h100:4", "--train", "--context=99"], "RN50 reads 1 to 77 tokens"),
        (["--model=RN50", "--topology=h100:4", "--tune=lora"], "--tune is read with --train"),
        (["--model=RN50", "--topology=h100:4", "--train", "--lora-rank=4"], "--lora-rank is read with --tune=lora"),
        (["--model=RN50", "--topology=h100:4", "--train", "--tune=heads"], "tune='heads'; choose full, lora"),
    ],
)
def test_a_wrong_word_gets_one_line(capsys, arguments, line):
    status, out, err = run(capsys, *arguments)
    assert status == 1
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def test_without_the_compiler_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    status, _, err = run(capsys, "--model=RN50", "--topology=v5e:4x4")
    assert status == 1
    assert err == "clipjax plan: compiling for v5e:4x4 needs the TPU compiler: pip install 'clipjax[tpu]'\n"


def test_a_gpu_plan_as_text_and_as_json(capsys, tmp_path):
    from clipjax.testing import tiny_model

    model = tiny_model(tmp_path / "tiny.safetensors")
    asked = (f"--model={model}", "--topology=h100:4", "--batch=16")
    status, out, err = run(capsys, *asked)
    assert (status, err) == (0, "")
    assert "XLA:GPU compiles only beside a GPU" in out
    record = json.loads(run(capsys, *asked, "--json", "--train", "--loss=ring_softmax", "--fsdp=2", "--tune=lora")[1])
    assert record["chips"] == 4
    assert "peak_bytes" not in record
    assert record["stablehlo_bytes"] > 10_000
    assert 0 < record["trained_bytes"] < record["parameter_bytes"] / 10
    assert 2 * record["trained_bytes"] < record["state_bytes"] < 2 * record["trained_bytes"] + 100


LOWERED = {("vit", "ring_sigmoid"), ("vit", None), ("resnet", "softmax")}  # by default


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        pytest.param(kind, loss, marks=[pytest.mark.exhaustive] * ((kind, loss) not in LOWERED))
        for kind in ("vit", "resnet")
        for loss in (*step.LOSSES, None)
    ],
)
def test_every_step_lowers_for_cuda(kind, loss):
    lowers(tiny_config(kind), loss)


@pytest.mark.heavy
@pytest.mark.parametrize("loss", ["softmax", "ring_softmax", None])
@pytest.mark.parametrize("name", __import__("clipjax.models.catalog", fromlist=["names"]).names())
def test_every_released_model_lowers_for_cuda(name, loss):
    from clipjax.models import catalog

    lowers(catalog.get(name).config, loss)


def lowers(config, loss):
    """For four GPUs, which need no stand-ins: a mesh without devices is enough to lower."""
    if loss is None:
        step = programs.evaluation(config, 4, 2)
    else:
        step = programs.training(config, 4, 2, programs.options(loss, "bfloat16", "none", 1, False), fsdp=2)
    text = compiling.lower_for_cuda(step)
    assert "stablehlo.dot_general" in text
    assert ("collective_permute" in text) == bool(loss and "ring" in loss)


def test_hbm_is_never_less_than_arguments_of_a_compiled_step():
    """Every parameter and pixel is read at least once."""
    step = programs.evaluation(tiny_config(), jax.devices()[:2], 4, dtype="float32")
    program = hlo.Program(step.program.lower(*step.arguments).compile().as_text())
    assert program.hbm_bytes() >= step.parameters + step.inputs
