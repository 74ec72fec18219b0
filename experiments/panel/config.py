"""Three models x six probes over shared data: drawings of people, official portraits, CIFAR-10, COCO photographs.

    clipjax panel config.py:DATA --config.models=emoji-clip,tuned=A.safetensors,random=B.safetensors --out=panel

`DATA` holds the folders emoji, congress_dev, cifar10 and coco_mini, and questions.csv (questions.py).
"""

from pathlib import Path

from clipjax.runs.panel_config import panel_config


def get_config(arg: str = ""):
    """`arg`: the folder of the data."""
    data, config = Path(arg or "data"), panel_config()
    config.data_sets = {
        "drawings": {"source": "csv", "csv": str(data / "emoji" / "manifest_probe.csv")},
        "portraits": {"source": "csv", "csv": str(data / "congress_dev" / "congress.csv")},
        "cifar10": {
            "source": "csv",
            "csv": str(data / "cifar10" / "cifar10.csv"),
            "split": "test",
            "label_column": "label",
        },
        "coco": {"source": "folder", "path": str(data / "coco_mini")},
    }
    config.probes = {
        "objects": {
            "config": "zeroshot", "data_sets": "cifar10", "templates": "a photo of a {}.", "calibration": {"bins": 15},
        },
        "gender": {
            "config": "zeroshot", "data_sets": "drawings", "calibration": {"bins": 15},
            "data": {"label_column": "gender", "group_columns": "skin_tone,vendor"}, "groups": "skin_tone,vendor",
            "sweep": {"rename": "male=man|boy,female=woman|girl"},
        },
        "roles": {
            "config": "rates", "data_sets": "drawings", "design": "people-roles",
            "data": {"group_columns": "skin_tone,gender"}, "groups": "skin_tone,gender",
        },
        "skew": {
            "config": "skew", "data_sets": "portraits", "classes": "a judge,a nurse,a teacher", "k": (50,),
            "data": {"group_columns": "gender,chamber"},
        },
        "association": {
            "config": "association", "data_sets": "drawings", "tests": str(Path(__file__).parent / "tools.yaml"),
            "data": {"group_columns": "gender"}, "allow_unequal": True,
        },
        "captions": {"config": "captions", "data_sets": "coco", "instances": str(data / "questions.csv")},
    }  # fmt: skip
    return config
