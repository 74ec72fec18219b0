"""A fine-tuning experiment from converted weights to report: the improvement and the affected groups.

    python experiments/finetuning/run.py --captions CAPTIONS.csv --work WORK [--model emoji-clip] [--steps 200]

CAPTIONS.csv has the columns file and caption, and the images are beside it (here: Tux Paint's stamps). Every fifth row
is held out. The script prints the commands; results stay in WORK, tables and figures go to results/.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import sys
from pathlib import Path

import curve
from PIL import Image

from clipjax.cli.main import main as clipjax
from clipjax.demo import people

ALPHAS = "0,0.25,0.5,0.75,1"
SHOWN = ("tables/paired_by_everybody.md", "tables/paired_by_skin_tone.md", "tables/flips_by_skin_tone.md",
         "figures/paired_fantasy_by_skin_tone.png", "figures/flips.png")  # fmt: skip


def call(*arguments: str) -> None:
    """One command of `clipjax`, printed first; a failure ends the study."""
    print("\n$ clipjax " + shlex.join(arguments), flush=True)
    if status := clipjax(list(arguments)):
        sys.exit(status)


def prepare(captions: Path, work: Path) -> None:
    """train.csv and test.csv, images on white: they have transparency, which OpenAI's preprocessing ignores."""
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    with open(captions, newline="", encoding="utf-8") as file:
        rows = [(row["file"], row["caption"]) for row in csv.DictReader(file) if row["caption"].strip()]
    tables: dict[str, list[list[str]]] = {"train": [], "test": []}
    for i, (name, caption) in enumerate(rows):
        picture = Image.open(captions.parent / name).convert("RGBA")
        page = Image.new("RGBA", picture.size, "white")
        page.alpha_composite(picture)
        target = work / "pictures" / f"{i:05}.png"
        page.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC).save(target)
        tables["train" if i % 5 else "test"].append([f"pictures/{target.name}", caption])
    for name, part in tables.items():
        with open(work / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["file", "caption"], *part])
        print(f"{name}: {len(part)} pictures")


def main() -> None:
    """Prepares, converts, trains, probes, compares, interpolates, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    work = args.work
    prepare(args.captions, work)
    listing = people.unpack(work / "people")

    call("convert", args.model, str(work / "openai.pt"), "--to=openai", "--dtype=float32")
    call("convert", str(work / "openai.pt"), str(work / "before.safetensors"))
    call("finetune", f"openai_vit_b32_csv:{work}/before.safetensors", f"--config.data.csv={work}/train.csv",
         "--config.data.caption_columns=caption", f"--config.steps={args.steps}", "--config.batch_size=64",
         "--config.optimizer.learning_rate=2e-4", "--config.optimizer.warmup=20", "--config.augment.scale=(0.5, 1.0)",
         "--config.augment.flip=0.5", "--config.data.max_skipped=0.02", "--config.log_every=5",
         f"--out={work}/run")  # fmt: skip
    curve.draw(work / "loss.png", {"Tux Paint": work / "run"})
    retrieval = [f"--config.data.csv={work}/test.csv", "--config.data.caption_columns=caption", "--config.prefix="]
    rates = [f"--config.data.csv={listing}", f"--config.data.group_columns={people.GROUPS}",
             "--config.design=people-roles"]  # fmt: skip
    after = work / "run" / "model.safetensors"
    for name, model in (("before", work / "before.safetensors"), ("after", after)):
        call("probe", "rates", *rates, f"--config.model={model}", f"--out={work}/{name}")
    call("compare", f"{work}/before", f"{work}/after", "--vary=weights", f"--out={work}/comparison")
    call("interpolate", str(work / "before.safetensors"), str(after), f"{work}/sweep", f"--alpha={ALPHAS}",
         "--probe=retrieval", *retrieval)  # fmt: skip
    call("report", f"{work}/before", f"{work}/after", f"--out={work}/report")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    shutil.copy(work / "sweep" / "sweep.md", results)
    shutil.copy(work / "loss.png", results)
    for name in SHOWN:
        shutil.copy(work / "comparison" / name, results)


if __name__ == "__main__":
    main()
