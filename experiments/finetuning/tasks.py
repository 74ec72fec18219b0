"""What real_runs.py asks every model: the classes and captions of each data set's test images, and drawings of people.

    clipjax panel tasks.py:WORK --config.models="before=emoji-clip, full=WORK/runs/emoji-clip-stamps-full" --out=PAGE

WORK is what prepare.py made.
"""

from pathlib import Path
from typing import Any

from clipjax.runs.panel_config import panel_config

CAPTIONS = {"stamps": "caption", "coco": ",".join(f"caption{i}" for i in range(1, 6)), "emoji": "caption"}


def get_config(arg: str = ""):
    """`arg`: WORK."""
    work, config = Path(arg or "work"), panel_config()
    data_sets: dict[str, dict[str, Any]] = {
        "people": {"source": "csv", "csv": str(work / "people" / "people.csv"), "group_columns": "age,skin_tone,gender"}
    }
    probes = {"roles": {"config": "rates", "data_sets": "people", "design": "people-roles"}}
    for name, columns in CAPTIONS.items():
        data_sets[name] = {"source": "csv", "csv": str(work / name / "test-classes.csv"), "label_column": "label"}
        captions = f"{name}-captions"
        data_sets[captions] = {"source": "csv", "csv": str(work / name / "test.csv"), "caption_columns": columns}
        probes[f"classes-{name}"] = {
            "config": "zeroshot", "data_sets": name, "classes": str(work / name / "classes.txt"), "templates": "{}",
            "show": "top1",
        }  # fmt: skip
        probes[f"retrieval-{name}"] = {
            "config": "retrieval", "data_sets": captions, "prefix": "", "show": "recall@1; recall@10",
        }  # fmt: skip
    config.data_sets, config.probes = data_sets, probes
    config.every = {"batch_size": 32}
    return config
