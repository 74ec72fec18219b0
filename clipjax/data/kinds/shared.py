"""Keys that several kinds of sources read; they mean the same in each."""

from clipjax.keys import Key

SPLIT = Key("", "the part of the data set; empty: all of it, or the kind's own default")
CLASS_NAMES = Key(
    "", "what the labels are called: names by position, or OLD=NEW; a list with commas, or a file with one a line"
)
IMAGE_COLUMN = Key("", "where the image is; empty: file (csv), image (parquet, tfds), the image's suffix (webdataset)")
LABEL_COLUMN = Key("", "where the label is; empty: none (csv), label (parquet, tfds), cls (webdataset)")
LABEL_SEPARATOR = Key("|", "between several labels of one image; empty: labels are never split")
CAPTION_COLUMNS = Key("", "where captions are, several by commas; empty: none (csv, parquet, tfds), txt (webdataset)")
GROUP_COLUMNS = Key("", "what images are grouped by, several by commas")


def columns(text: str) -> tuple[str, ...]:
    """ "age, gender" -> the names of columns."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
