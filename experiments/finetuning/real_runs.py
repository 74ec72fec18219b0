"""Five ways to fine-tune, of two models, on three data sets: what each trains, costs, gains, loses and changes.

    python real_runs.py --data DATA --work WORK [--only=emoji-clip,stamps,lora] [--seconds=1800]
    python real_runs.py --work WORK --collect

One process per model, data set and method, one after the other, each with a time limit. What is finished stays: the
same command goes on, also within a fine-tuning run. Then one page per model and data set (`clipjax panel`): the model
before and after, on the target, on the two other data sets (retention), and on 290 drawings of people. --collect reads
all of it into results/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import collect
import prepare
from collect import DATA, MODELS

HERE = Path(__file__).parent
CAPTIONS = {"stamps": "caption", "coco": ",".join(prepare.COCO_CAPTIONS), "emoji": "caption"}
# (steps, batch size) of a model on a data set; a step of the full-size model takes seconds.
AMOUNT = {"emoji-clip": (100, 32), "ViT-B-32-random": (20, 8)}
FEW = {"emoji-clip": (50, 16), "ViT-B-32-random": (20, 8)}  # of 18 photographs
TRAINED = {
    "full": ["--config.tune=full", "--config.optimizer.learning_rate=2e-4"],
    "lora": ["--config.tune=lora", "--config.lora.on=attention+mlp", "--config.optimizer.learning_rate=2e-3"],
    "last_block": ["--config.tune=last_blocks:1", "--config.optimizer.learning_rate=5e-4"],
}
SHOTS = 4  # images per class of the heads, drawn three times
HEADS = {
    "coop": ["coop", "--config.context.tokens=4", "--config.context.epochs=50"],
    "tip_adapter": ["tip_adapter"],
    "tip_adapter_f": ["tip_adapter", "--config.training.epochs=20"],
}


def command(*arguments: str) -> list[str]:
    """A clipjax command of its own process."""
    return [sys.executable, "-m", "clipjax.cli.main", *arguments]


def training(work: Path, model: str, data: str, method: str) -> list[str]:
    steps, batch = (FEW if data == "coco" else AMOUNT)[model]
    return command(
        "finetune", "openai_vit_b32_csv", f"--config.model={weights(work, model)}", "--config.data.source=csv",
        f"--config.data.csv={work}/{data}/train.csv", f"--config.data.caption_columns={CAPTIONS[data]}",
        f"--config.steps={steps}", f"--config.batch_size={batch}", f"--config.optimizer.warmup={steps // 10}",
        "--config.augment.scale=(0.5, 1.0)", "--config.augment.flip=0.5", "--config.log_every=2",
        "--config.evaluate.every=10", "--config.checkpoints.every=50", "--config.checkpoints.keep=1",
        f"--config.name={method}", *TRAINED[method], f"--out={work}/runs/{model}-{data}-{method}",
    )  # fmt: skip


def head(work: Path, model: str, data: str, method: str) -> list[str]:
    probe, *options = HEADS[method]
    return command(
        "probe", probe, f"--config.model={weights(work, model)}", "--config.data.source=csv",
        f"--config.data.train_path={work}/{data}/train-classes.csv",
        f"--config.data.test_path={work}/{data}/test-classes.csv", "--config.data.label_column=label",
        f"--config.classes={work}/{data}/classes.txt", "--config.templates={}", f"--config.shots=({SHOTS},)", *options,
        f"--out={work}/runs/{model}-{data}-{method}",
    )  # fmt: skip


def page(work: Path, model: str, data: str) -> list[str]:
    """Before and after every method that trained, on all tasks."""
    after = [f"{method}={work}/runs/{model}-{data}-{method}" for method in TRAINED]
    models = ", ".join([f"before={weights(work, model)}", *after])
    return command(
        "panel", f"{HERE}/tasks.py:{work}", f"--config.models={models}", f"--out={work}/pages/{model}-{data}"
    )


def weights(work: Path, model: str) -> str:
    return model if model == "emoji-clip" else str(work / f"{model}.safetensors")


def make_random(path: Path) -> None:
    """ViT-B/32 with parameters drawn as for training from scratch."""
    import jax
    import numpy as np

    from clipjax.models import catalog, clip
    from clipjax.models import weights as files

    config = catalog.get("ViT-B/32").config
    flat = {name: np.asarray(x) for name, x in clip.flatten(clip.init(config, jax.random.key(0))).items()}
    files.save(path, files.Weights(flat, config, path.stem, {"format": "random", "seed": 0}))


def call(words: list[str], out: Path, seconds: float) -> None:
    """Runs a command unless its result is there; what failed or was stopped at its limit goes on the next time."""
    if (out / ("report.html" if "panel" in words else "manifest.json")).exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    environment = os.environ | {"CLIPJAX_CACHE": str(out.parent.parent / "cache")}
    with open(f"{out}.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # a checkpoint is saved first
            status = process.wait()
    print(f"{out.name}: status {status}, {time.time() - begin:.0f} s", flush=True)
    if status == 0:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)  # of a finished run, up to 2 GB


def main() -> None:
    """Everything that `--only` leaves, in order: the small model first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="holds tuxpaint, coco_mini and emoji")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default="", help="models, data sets and methods, by commas; page: the pages")
    parser.add_argument("--seconds", type=float, default=1800, help="of one process")
    parser.add_argument("--collect", action="store_true", help="run nothing; results/ from what is there")
    args = parser.parse_args()
    work, only = args.work.resolve(), set(filter(None, args.only.split(",")))
    if args.collect:
        collect.main(work, HERE / "results")
        return
    prepare.main(args.data.resolve(), work)

    def chosen(*names: tuple[str, ...]) -> list[list[str]]:
        """Of each list those in --only, or all where none is."""
        return [[n for n in mine if n in only] or list(mine) for mine in names]

    models, data_sets, methods = chosen(MODELS, DATA, (*TRAINED, *HEADS, "page"))
    for model in models:
        if model != "emoji-clip" and not Path(weights(work, model)).exists():
            make_random(Path(weights(work, model)))
        for data in data_sets:
            for method in methods:
                if method == "page":
                    call(page(work, model, data), work / "pages" / f"{model}-{data}", args.seconds)
                    continue
                make = training if method in TRAINED else head
                call(make(work, model, data, method), work / "runs" / f"{model}-{data}-{method}", args.seconds)


if __name__ == "__main__":
    main()
