"""Caption choice: right against wrong captions of images, by subset and by group.

    clipjax probe captions --config.data.path=val2017 --config.instances=replace_obj.json --out=runs/sugarcrepe
    clipjax probe captions --config.data.path=images --config.instances=mine.csv --config.by=gender --out=runs/mine
    clipjax probe captions:countbench --config.data.path=countbench --out=runs/countbench
    clipjax probe captions:winoground --config.data.path=images --config.instances=examples.jsonl --out=runs/winoground

The table has columns file, caption and wrong, or those of SugarCrepe, ARO, Winoground or VisoGender (the argument).
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.layout."""
    config = probe_config("captions")
    config.layout = arg or "pairs"
    if arg == "countbench":
        config.data.source = arg
    return config
