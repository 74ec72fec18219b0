"""NWPU-RESISC45: 45 folders of aerial images, and VTAB's split."""

import os

from clipjax.data.info import Info
from clipjax.data.sets import eurosat
from clipjax.data.source import Source

INFO = Info(
    name="RESISC45",
    key="resisc45",
    task="classification",
    metric="top1",
    split="VTAB test (last 20%)",
    n=6300,
    tfds="resisc45",
    model_card=False,
    obtain="NWPU-RESISC45.rar from https://gcheng-nwpu.github.io/ (research use).",
    layout="""
NWPU-RESISC45/
  airplane/airplane_001.jpg  airport/ ...
""",
    reading="The data set has no split and the paper's (3,150 / 25,200, drawn at random) was never released: "
    "this is VTAB's 60/20/20% of the order in which TFDS writes the images, computed from their names. "
    "Templates are OpenAI's 18, not CLIP_benchmark's 4: neither published number is a golden value here.",
)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """RESISC45 from its class folders or prepared by TFDS."""
    return eurosat.read(INFO, path, split, "NWPU-RESISC45/airplane", "airplane")
