"""IIIT 5K-word: one word per image, to be found in a lexicon of its own."""

import os

import numpy as np

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError, require

INFO = Info(
    name="IIIT5K",
    key="iiit5k",
    task="classification",
    metric="top1",
    split="test, 1,000-word lexicon",
    n=3000,
    obtain="IIIT5K-Word_V3.0.tar.gz from "
    "https://cvit.iiit.ac.in/research/projects/cvit-projects/the-iiit-5k-word-dataset (research use).",
    layout="""
IIIT5K/
  traindata.mat  testdata.mat     ImgName, GroundTruth, smallLexi, largeLexi
  train/1009_2.png  test/1002_1.png
""",
    reading="The prediction is the best word of the image's own 1,000-word lexicon (which holds the truth), "
    "not of all words: column `lexicon`. That the paper means the 1,000-word column is recalled, its prompt "
    "was never published; words are asked for in the capitals of the file.",
)
SPLITS = ("train", "test")
LEXICA = {"large": "largeLexi", "small": "smallLexi"}  # 1,000 and 50 words


def open_source(path: str | os.PathLike, split: str | None = None, lexicon: str = "large") -> Source:
    """IIIT5K; classes are the words of all lexica, column `lexicon` (int64 [N, L]) the labels allowed for each row."""
    split = annotations.choose_split(split, SPLITS, INFO)
    require(lexicon, LEXICA, INFO.name, "lexicon")
    root = annotations.find_root(path, INFO, f"{split}data.mat", "IIIT5K")
    where = root / f"{split}data.mat"
    (rows,) = annotations.read_mat(where, f"{split}data")
    files, truths, lexica = annotations.struct_fields(rows, where, "ImgName", "GroundTruth", LEXICA[lexicon])
    truths = [str(word) for word in truths]
    lexica = [sorted({str(word) for word in np.atleast_1d(words)}) for words in lexica]
    for file, truth, words in zip(files, truths, lexica, strict=True):
        if truth not in words:
            raise InputError(f'{where}: "{truth}", the word of {file}, is not in its lexicon; fetch the data set again')
    classes = sorted({word for words in lexica for word in words})
    index = {word: i for i, word in enumerate(classes)}
    # A few lexica repeat a word; a repeated label fills the row up and changes nothing.
    width = max(map(len, lexica))
    allowed = np.array([[index[w] for w in words] + [index[words[0]]] * (width - len(words)) for words in lexica])
    columns = {"label": [index[word] for word in truths], "lexicon": allowed}
    return table.from_rows(INFO.key, [root / str(file) for file in files], columns, classes, root)
