"""A miniature of CountBench's parquet file."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TEXTS = ["Three little pigs - three pigs", "a lot of ten (10) coins, three of them old", "two cats", "FIVE dogs"]
NUMBERS = [3, 10, 2, 5]


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(path, texts=TEXTS, numbers=NUMBERS, without=(2,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [None if i in without else picture(i) for i in range(len(texts))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = {"image": pa.array(images, kind), "number": numbers, "text": texts, "image_url": ["http://x"] * len(texts)}
    pq.write_table(pa.table(table), path)
    return path
