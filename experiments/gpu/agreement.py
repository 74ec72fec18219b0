"""Differences between GPU and CPU: features of all models, complete commands, training losses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import clipjax
from clipjax import image, parallel
from clipjax.encoder import Encoder
from clipjax.models import catalog
from clipjax.train import optimiser, step

# (name, matmul precision, compute dtype)
CASES = (("highest", "highest", "float32"), ("default", "default", "float32"), ("bfloat16", "default", "bfloat16"))
UPDATES, BATCH = 6, 16
PLACES = {"cpu": {"JAX_PLATFORMS": "cpu"}, "gpu": {}, "gpu, highest": {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}}


def _bfloat16() -> Any:
    """experiments/bfloat16/run.py: the recipe for random weights, and the prompts."""
    spec = importlib.util.spec_from_file_location("bfloat16_run", Path(__file__).parents[1] / "bfloat16" / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_of(name: str) -> tuple[Any, Any]:
    """(configuration, parameters): random ones, or the embedded model's. Drawn on the CPU, where it is quicker."""
    if name == "emoji-clip":
        model = clipjax.load(name)
        assert isinstance(model, clipjax.Model)
        return model.config, model.params
    with jax.default_device(jax.devices("cpu")[0]):
        config = catalog.get(name).config
        return config, _bfloat16().random_weights(config)


def apart(got: np.ndarray, want: np.ndarray) -> dict[str, float]:
    """Lowest cosine over the rows, in float64, and the largest difference as a share of the largest number."""
    a, b = got.astype(np.float64), want.astype(np.float64)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {"cosine": float(cosine.min()), "largest": float(np.abs(a - b).max() / np.abs(b).max())}


def features(name: str) -> dict[str, Any]:
    """Six photographs and twelve prompts: float32 on this process's CPU against the GPU in each precision."""
    config, params = model_of(name)
    folder = resources.files("clipjax") / "assets" / "photographs"
    pictures = [image.open_image(str(p)) for p in sorted(folder.iterdir(), key=str) if p.name.endswith(".jpg")]
    pixels = image.preprocess(pictures, image.Preprocess(config.image.image_size, **vars(config.pixels)))
    tokens = clipjax.tokenize(_bfloat16().PROMPTS)

    def both(platform: str, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
        mesh = parallel.data_mesh(jax.devices(platform)[:1])
        encoder = Encoder(config, params, dtype=dtype, batch_size=8, mesh=mesh)
        return encoder.images(pixels), encoder.texts(tokens)

    want, record = both("cpu"), {}
    for case, precision, dtype in CASES:
        with jax.default_matmul_precision(precision):
            record[case] = both(jax.default_backend(), dtype)
    return {
        case: {"image": apart(im, want[0]), "text": apart(tx, want[1])} for case, (im, tx) in record.items()
    }  # fmt: skip


def losses(name: str) -> dict[str, Any]:
    """Six updates from the same weights on the same pairs: loss and gradient norm on the CPU and on the GPU."""
    config, params = model_of(name)
    rng = np.random.default_rng(0)
    size, tokens = config.image.image_size, np.zeros((BATCH, 16), np.int32)
    tokens[:, 0], tokens[:, 1:13], tokens[:, 13] = 49406, rng.integers(1, 40000, (BATCH, 12)), 49407
    pixels = rng.integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)
    batch = {"pixels": pixels, "tokens": tokens, "ids": np.arange(BATCH, dtype=np.int32)}
    recipe = optimiser.Options(steps=1000, warmup=1, learning_rate=1e-5)

    def run(platform: str, dtype: str) -> list[list[float]]:
        options = step.Options(dtype=dtype)
        mesh = parallel.training_mesh(1, jax.devices(platform)[:1])
        state = step.start(params, options, recipe, mesh)
        update, seen = step.make(config, options, recipe, state, mesh), []
        for _ in range(UPDATES):
            state, metrics = update(state, batch)
            seen.append([float(metrics["loss"]), float(metrics["gradient_norm"])])
        return seen

    found = {"cpu": run("cpu", "float32")}
    for case, precision, dtype in CASES:
        with jax.default_matmul_precision(precision):
            found[case] = run(jax.default_backend(), dtype)
    want = np.array(found["cpu"])
    off = {
        case: (np.abs(np.array(seen) - want) / want).max(0).tolist() for case, seen in found.items() if case != "cpu"
    }  # fmt: skip
    return {"runs": found, "relative": off}


def commands() -> dict[str, Any]:
    """`clipjax demo`, `finetune` and `probe` as a user types them, on the CPU and on the GPU; what differs."""
    with tempfile.TemporaryDirectory() as folder:
        outs = {place: Path(folder) / place.replace(", ", "-") for place in PLACES}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda place: _demo_and_finetune(outs[place], PLACES[place]), PLACES))
        half, design = Path(folder) / "half", "people-roles"
        listing = [f"--config.data.csv={outs['gpu'] / 'people' / 'people.csv'}", f"--config.design={design}"]
        _clipjax(["probe", "rates", *listing, "--config.precision=bfloat16"], {}, half)
        found = {
            place: {"answers": _predictions(out / design, outs["cpu"] / design), "losses": _losses(out / "tuned")}
            for place, out in outs.items()
        }
        found["gpu, bfloat16"] = {"answers": _predictions(half, outs["cpu"] / design)}
        device = json.loads((outs["gpu"] / design / "manifest.json").read_text())["device"]
    return {"runs": found, "device": device}


def _demo_and_finetune(out: Path, variables: dict[str, str]) -> None:
    _clipjax(["demo"], variables, out)
    words = ["finetune", "openai_vit_b32_csv:emoji-clip", f"--config.data.csv={out / 'people' / 'people.csv'}"]
    words += ["--config.data.caption_columns=name", "--config.steps=8", "--config.batch_size=64"]
    words += ["--config.log_every=1", "--config.optimizer.warmup=1"]
    _clipjax(words, variables, out / "tuned")


def _clipjax(words: list[str], variables: dict[str, str], out: Path) -> None:
    """One command in a process of its own, with a feature cache of its own; its last lines where it fails."""
    environment = os.environ | variables | {"CLIPJAX_CACHE": f"{out}-cache"}
    command = [sys.executable, "-m", "clipjax.cli.main", *words, f"--out={out}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"clipjax {words[0]} {variables}: {done.stderr[-500:]}")


def _predictions(run: Path, reference: Path) -> dict[str, float]:
    a, b = (pd.read_parquet(path / "predictions.parquet") for path in (run, reference))
    assert list(a["file"]) == list(b["file"])
    return {
        "pictures": len(a),
        "other_answer": int((a["prediction"] != b["prediction"]).sum()),
        "largest_change_of_a_probability": float((a["probability"] - b["probability"]).abs().max()),
    }


def _losses(run: Path) -> list[float]:
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["stage"] == "train" and "loss" in event]
