"""What a run prints and its tables: rows can be told apart, and a group has a column of its own."""

import csv
import io

from clipjax.analysis.records import Record
from clipjax.files import sha256
from clipjax.runs import account, summary
from clipjax.runs.finetune_result import _losses
from clipjax.runs.folder import RunFolder


def rate(value=0.5, **fields):
    return Record(metric="rate", set="bird", k=5, n=10, value=value, low=0.2, high=0.8, **fields)


def test_rows_of_the_terminal_table_name_their_column():
    """Waterbirds: y and place are both 0 and 1, and the two lines `rate bird, 0` could not be told apart."""
    records = [rate(group={"y": "0"}), rate(group={"place": "0"}), rate(group={"y": "0", "place": "1"})]
    assert summary._names(records) == ["rate bird, y=0", "rate bird, place=0", "rate bird, y=0, place=1"]
    rows = summary.records_table(records, {}).splitlines()
    assert any("rate bird, place=0" in row for row in rows)
    assert len({row.split("  ")[0] for row in rows[:3]}) == 3


def test_records_that_would_have_one_name_are_told_apart_by_what_differs():
    records = [rate(label="dog"), rate(label="cat"), rate(label="cat", against="the rest")]
    assert summary._names(records) == [
        "rate bird, label=dog", "rate bird, label=cat", "rate bird, label=cat, against=the rest",
    ]  # fmt: skip


def test_metrics_csv_has_a_column_per_group_column(tmp_path):
    folder = RunFolder(tmp_path / "run", {})
    folder.write_records([rate(group={}), rate(group={"race": "East Asian"}), rate(group={"race": "a,b", "sex": "f"})])
    folder.close()
    text = (tmp_path / "run" / "tables" / "metrics.csv").read_text()
    assert "{" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["group.race"], row["group.sex"]) for row in rows] == [("", ""), ("East Asian", ""), ("a,b", "f")]
    assert "group" not in rows[0]
    assert "{" not in (tmp_path / "run" / "tables" / "metrics.md").read_text()


def test_what_was_used_and_done_as_lines():
    skipped = [(3, "c.jpg", "c.jpg is empty (0 bytes)")]
    prompts = {f"class {i}": [f"a class {i}.", f"class {i}"] for i in range(12)}
    lines = account.describe("ViT-B/32", "ViT-B-32.pt", "ab" * 32, "photos", 9, skipped, prompts)
    assert lines[:3] == [
        "model: ViT-B/32",
        "weights: ViT-B-32.pt, sha256 abababababab",
        "data: photos, 9 images, 1 skipped",
    ]
    assert lines[3].startswith('prompts: 12 classes, 2 each; the first of each: "a class 0.", "a class 1."')
    assert lines[3].endswith(" and 2 more")
    assert lines[4:] == ["skipped: 1 image", "  c.jpg is empty (0 bytes)"]
    (model, *_) = account.describe("emoji-clip", "e.safetensors", "0" * 64, "photos", 1, demo="--config.model=ViT-B/32")
    assert model.endswith("; --config.model=ViT-B/32")
    assert "embedded demo" in model


def test_the_losses_of_single_batches_are_not_shown_as_progress():
    events = [
        {"stage": "evaluation", "step": 0, "fixed/loss": 4.11}, {"stage": "train", "step": 20, "loss": 2.68},
        {"stage": "evaluation", "step": 20, "fixed/loss": 4.0},
    ]  # fmt: skip
    assert _losses(events) == "loss of a fixed batch of training pairs: 4.1100 before, 4.0000 after step 20"


def test_the_file_that_was_read_is_named_and_not_where_it_once_came_from(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"weights")
    origin = {"file": "ViT-B-32.pt", "sha256": "ab" * 32}
    assert account.weights_of(str(path), origin) == ("mine.safetensors", sha256(path))
    assert account.weights_of(str(path), origin | {"file": path.name}) == ("mine.safetensors", sha256(path))
    assert account.weights_of("ViT-B/32", origin) == ("ViT-B-32.pt", "ab" * 32)
    assert account.weights_of("emoji-clip", {})[0] == "emoji-clip.safetensors"
    assert account.weights_of(str(tmp_path), {}) == (str(tmp_path), "unknown")
