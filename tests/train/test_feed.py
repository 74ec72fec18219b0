"""The stream of batches: every row once an epoch, the same for any host, thread or restart, and what is left out."""

import numpy as np
import pytest
from PIL import Image

from clipjax.data import table
from clipjax.data.kinds import folder
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.text import tokenize
from clipjax.train import feed
from clipjax.train.augment import Augment

SPEC = Preprocess(16, (0.5,) * 3, (0.5,) * 3)
RANDOM = Augment(scale=(0.5, 1.0), flip=0.5)
N = 23


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """23 pictures whose colour is their number; captions "number K" and "K again", with K = 7 and 8 shared."""
    root = tmp_path_factory.mktemp("pictures")
    files, captions = [], []
    for i in range(N):
        Image.new("RGB", (20, 20), (i * 10, 0, 0)).save(root / f"{i:02}.png")
        files.append(root / f"{i:02}.png")
        captions.append((f"number {8 if i == 9 else i}", f"{i} again"))
    return table.from_rows("numbers", files, {"captions": captions, "kind": [f"k{i % 5}" for i in range(N)]})


def ids(text, length=8):
    """The text's tokens as a batch holds them: no wider than the longest caption needs."""
    return tokenize(text, length)[0]


def make(source, batch=8, options=None, seed=3, share=(0, 1), threads=2, **more):
    return feed.Feed(feed.pairs(source, **more), batch, SPEC, 12, options, seed, share, threads)


def take(stream, n):
    found = [next(stream) for _ in range(n)]
    stream.close()
    return found


def equal(a, b):
    return a.files == b.files and all((a.arrays[k] == b.arrays[k]).all() for k in a.arrays)


def test_every_row_once_an_epoch_in_new_order_with_its_own_caption(source):
    batches = take(make(source, batch=N), 3)
    orders = [tuple(b.files) for b in batches]
    assert all(sorted(order) == [f"{i:02}.png" for i in range(N)] for order in orders)
    assert len(set(orders)) == 3
    assert orders[0] != tuple(sorted(orders[0]))
    captions = {}
    for b in batches:
        for file, pixels, tokens in zip(b.files, b.arrays["pixels"], b.arrays["tokens"], strict=True):
            number = int(file[:2])
            assert (pixels == (number * 10, 0, 0)).all()
            known = {text: ids(text) for text in source.captions[number]}
            captions.setdefault(number, set()).update(t for t, ids in known.items() if (ids == tokens).all())
    assert all(found for found in captions.values())
    assert sum(len(found) == 2 for found in captions.values()) > 5  # both captions are drawn
    assert batches[0].arrays["pixels"].dtype == np.uint8
    assert batches[0].arrays["tokens"].shape == (N, 8)


def test_hosts_share_the_batch_that_one_host_would_read(source):
    alone = take(make(source, options=RANDOM), 4)
    two = [take(make(source, options=RANDOM, share=(p, 2), threads=p + 1), 4) for p in range(2)]
    for whole, left, right in zip(alone, *two, strict=True):
        assert whole.files == left.files + right.files
        for key, values in whole.arrays.items():
            np.testing.assert_array_equal(values, np.concatenate([left.arrays[key], right.arrays[key]]), err_msg=key)


def test_the_state_counts_what_all_hosts_have_seen(source):
    stream = make(source, share=(1, 2))
    next(stream), next(stream), next(stream)
    assert stream.get_state() == {"next_index": 24}
    stream.close()
    alone = make(source)
    alone.set_state({"next_index": 24})
    assert alone.position == 3
    alone.close()


def test_going_on_from_a_position_is_never_having_stopped(source):
    stream = make(source, options=RANDOM)
    straight = [next(stream) for _ in range(7)]
    assert stream.position == 7
    stream.position = 4
    assert equal(next(stream), straight[4])
    assert stream.position == 5
    stream.close()
    fresh = make(source, options=RANDOM)
    fresh.set_state({"next_index": 5 * 8})  # what a checkpoint does
    assert equal(next(fresh), straight[5])
    fresh.close()
    other = take(make(source, options=RANDOM, seed=4), 1)[0]
    assert other.files != straight[0].files


def test_equal_captions_and_equal_columns_share_an_id(source):
    for b in take(make(source), 6):
        by_text = {}
        for ids, tokens in zip(b.arrays["ids"].tolist(), b.arrays["tokens"], strict=True):
            assert by_text.setdefault(ids, tokens.tobytes()) == tokens.tobytes()
        assert len(set(by_text.values())) == len(by_text)
    for b in take(make(source, id_column="kind"), 3):
        kinds = [int(f[:2]) % 5 for f in b.files]
        pairs = zip(b.arrays["ids"].tolist(), kinds, strict=True)
        assert len(set(pairs)) == len(set(kinds)) == len(set(b.arrays["ids"].tolist()))


def test_class_names_in_templates_are_captions(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (20, 20)).save(tmp_path / name / f"{i}.png")
    found = make(folder.open_folder(tmp_path), batch=6, templates=("a photo of a {}.", "the {}"))
    texts = {"cat": [], "dog": []}
    for b in take(found, 4):
        for file, tokens in zip(b.files, b.arrays["tokens"], strict=True):
            texts[file[:3]].append(tokens.tobytes())
    for name, seen in texts.items():
        assert set(seen) == {ids(t.format(name)).tobytes() for t in ("a photo of a {}.", "the {}")}


def test_long_captions_are_cut_and_counted_braces_and_markers_are_text(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    long = "word " * 10_000
    source = table.from_rows("one", [tmp_path / "a.png"], {"captions": [(long,)]})
    b = take(make(source, batch=1), 1)[0]
    assert b.truncated == 1
    assert b.arrays["tokens"][0, -1] == 49407
    source = table.from_rows("one", [tmp_path / "a.png"], {"captions": [("word " * 10,)]})
    assert take(make(source, batch=1), 1)[0].truncated == 0  # start, ten words and end fit exactly
    odd = "{0} {} <|endoftext|> {x}"
    source = table.from_rows("one", [tmp_path / "a.png"], {"captions": [(odd,)]})
    b = take(feed.Feed(feed.pairs(source, templates=("{} end",)), 1, SPEC, 40, None, 0), 1)[0]
    assert (b.arrays["tokens"][0] == tokenize(odd + " end", 16, special_tokens="text")[0]).all()
    assert b.truncated == 0


def test_an_unreadable_picture_gives_way_to_the_next(source, tmp_path):
    files = []
    for i in range(6):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (20, 20), (i, i, i)).save(files[-1])
    broken = table.from_rows("some", files, {"captions": [(f"n {i}",) for i in range(6)]})
    files[2].unlink()
    files[3].write_bytes(b"no picture")
    first, again = (take(make(broken, batch=6), 2) for _ in range(2))
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert sorted(first[0].files) == ["0.png", "1.png", "4.png", "4.png", "4.png", "5.png"]
    assert {file for file, _ in first[0].replaced} == {"2.png", "3.png"}
    assert any("no such file" in reason for _, reason in first[0].replaced)
    for file in files:
        file.unlink(missing_ok=True)
    with pytest.raises(InputError, match="6 images in a row cannot be read"):
        next(make(broken, batch=6))


def test_rows_without_captions_are_left_out_and_told(source):
    captions = [() if i == 4 else (f"n {i}",) for i in range(N)]
    files = [source.read(i) for i in range(N)]
    some = table.from_rows("numbers", files, {"captions": captions})
    found = feed.pairs(some, max_without=0.05)
    assert found.without == ("04.png",)
    assert len(found) == N - 1
    assert "04.png" not in take(feed.Feed(found, N - 1, SPEC, 12, None, 0), 1)[0].files
    assert feed.pairs(some).without == ("04.png",)  # one may always be left out, unless the share is 0
    with pytest.raises(InputError, match=r"04.png has no caption"):
        feed.pairs(some, max_without=0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"templates": ("a photo",)}, "write {} once"),
        ({"templates": ()}, "no templates"),
        ({"id_column": "knd"}, 'no column "knd"'),
    ],
)
def test_refusals_before_any_picture(source, more, message):
    with pytest.raises(InputError, match=message):
        make(source, **more)


def test_batches_that_do_not_divide_and_contexts_without_room(source):
    with pytest.raises(InputError, match="over 3 hosts"):
        make(source, share=(0, 3))
    with pytest.raises(InputError, match="no room"):
        feed.Feed(feed.pairs(source), 8, SPEC, 1, None, 0)
    plain = table.from_rows("plain", [source.read(0)], {})
    with pytest.raises(InputError, match="neither captions nor labels"):
        feed.pairs(plain)


def test_tokens_are_as_wide_as_the_longest_caption_needs_and_no_wider(source):
    """Exact, because nothing behind the end of a text is read; one width for the run, so one compiled step."""
    for template, want in (("{}", 8), ("one two three four five {}", 16), ("{}" + " more" * 90, 77)):
        found = feed.pairs(source, templates=("{}", template))
        stream = feed.Feed(found, 4, SPEC, 77, None, 0)
        assert stream.length == want
        for batch in take(stream, 4):
            tokens = batch.arrays["tokens"]
            assert tokens.shape == (4, want)
            assert (tokens.max(1) == 49407).all()  # every text's end is inside
    assert feed.text_length(feed.pairs(source, templates=("{}" + " more" * 90,)), 12) == 12
    assert feed.text_length(feed.pairs(source), 5) == 5  # never wider than what captions are cut to
