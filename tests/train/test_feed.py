"""The stream of batches: every row once an epoch, the same for any host, thread or restart, and what is left out."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from clipjax.data import table
from clipjax.data.kinds import folder
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.text import tokenize
from clipjax.train import feed, order, pairs
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
    return feed.Feed(pairs.pairs(source, **more), batch, SPEC, 12, options, seed, share, threads)


def of_texts(batch):
    return batch.arrays["ids"][:, 0].tolist()


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
        for ids, tokens in zip(of_texts(b), b.arrays["tokens"], strict=True):
            assert by_text.setdefault(ids, tokens.tobytes()) == tokens.tobytes()
        assert len(set(by_text.values())) == len(by_text)
    for b in take(make(source, id_column="kind"), 3):
        kinds = [int(f[:2]) % 5 for f in b.files]
        together = zip(of_texts(b), kinds, strict=True)
        assert len(set(together)) == len(set(kinds)) == len(set(of_texts(b)))


def test_no_image_twice_in_a_batch_unless_batches_cross_epochs(source):
    """The rest of an epoch is another one in every epoch, so that every image has its turn."""
    batches = take(make(source), 12)
    assert all(len(set(b.files)) == 8 for b in batches)
    assert len({file for b in batches for file in b.files}) == N
    carried = take(feed.Feed(pairs.pairs(source), 8, SPEC, 12, None, 3, last_batch="carry"), 23)
    counts = np.unique([file for b in carried for file in b.files], return_counts=True)[1]
    assert (counts == 8).all()  # eight whole epochs
    with pytest.raises(InputError, match="drop or carry"):
        order.Epochs(10, 2, 0, "keep")


def test_copies_of_an_image_share_an_id_whatever_they_are_called(tmp_path):
    for name, colour in (("a", 1), ("b", 2), ("c", 1)):
        Image.new("RGB", (20, 20), (colour * 90, 0, 0)).save(tmp_path / f"{name}.png")
    files = [tmp_path / f"{name}.png" for name in "abc"]
    found = pairs.pairs(table.from_rows("copies", files, {"captions": [("one",), ("two",), ("three",)]}))
    b = take(feed.Feed(found, 3, SPEC, 12, None, 0), 1)[0]
    of_images = dict(zip(b.files, b.arrays["ids"][:, 1].tolist(), strict=True))
    assert of_images["a.png"] == of_images["c.png"] != of_images["b.png"]
    assert len(set(of_texts(b))) == 3
    lengths = pairs.lengths(found, 12)
    for soft, effect in ((True, "are not negatives"), (False, r"are negatives of each other \(soft_targets=False\)")):
        [said] = pairs.notes(found, lengths, 12, soft, 3)
        assert re.search(f"1 of 3 images are copies of others under other names; copies {effect}", said)
    files[2].unlink()
    files[0].unlink()
    gone = pairs.pairs(table.from_rows("gone", files, {"captions": [("one",), ("two",), ("three",)]}))
    assert len(set(gone.images.tolist())) == 3  # nothing is known of what cannot be read


def test_what_is_said_before_the_first_step(source):
    found = pairs.pairs(source)
    assert pairs.notes(found, pairs.lengths(found, 12), 12, True, 8) == [
        "23 images have 46 captions: an epoch shows every image once, with one of its captions"
    ]
    cut = pairs.notes(found, pairs.lengths(found, 4), 4, True, 8)[1]
    assert cut == "2 of 45 different captions are longer than 4 tokens and are cut there, the first: '20 again'" or (
        "different captions are longer than 4 tokens and are cut there, the first:" in cut
    )
    assert "1 of 46 captions repeat another" in pairs.notes(found, pairs.lengths(found, 12), 12, False, 8)[1]


def test_the_fingerprint_is_of_contents_and_captions(source, tmp_path):
    captions = [("number 1",), ("number 2",)]
    copies = []
    for i in (1, 2):
        copies.append(tmp_path / f"other-{i}.png")
        copies[-1].write_bytes(source.read(i).read_bytes())

    def fingerprint(files, said=captions, **more):
        return pairs.pairs(table.from_rows("two", files, {"captions": said}), **more).fingerprint

    first = fingerprint([source.read(1), source.read(2)])
    assert fingerprint(copies) == first
    others = [
        fingerprint(copies[::-1]), fingerprint(copies, [("number 1",), ("number 3",)]),
        fingerprint(copies, templates=("a {}",)), fingerprint([copies[0], source.read(3)]),
    ]  # fmt: skip
    assert len({first, *others}) == 5


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
    b = take(feed.Feed(pairs.pairs(source, templates=("{} end",)), 1, SPEC, 40, None, 0), 1)[0]
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
    found = pairs.pairs(some, max_without=0.05)
    assert found.without == ("04.png",)
    assert len(found) == N - 1
    assert "04.png" not in take(feed.Feed(found, N - 1, SPEC, 12, None, 0), 1)[0].files
    assert pairs.pairs(some).without == ("04.png",)  # one may always be left out, unless the share is 0
    with pytest.raises(InputError, match=r"04.png has no caption"):
        pairs.pairs(some, max_without=0)


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


def test_rows_without_an_id_are_not_one_another(source):
    kinds = ["", "", *source.columns["kind"][2:]]
    some = dataclasses.replace(source, columns={"kind": np.array(kinds)})
    with pytest.raises(InputError, match=rf"2 of {N} rows of .* have no kind.*the first: {source.files[0]}"):
        pairs.pairs(some, id_column="kind")


def test_batches_that_do_not_divide_and_contexts_without_room(source):
    with pytest.raises(InputError, match="over 3 hosts"):
        make(source, share=(0, 3))
    with pytest.raises(InputError, match="no room"):
        feed.Feed(pairs.pairs(source), 8, SPEC, 1, None, 0)
    plain = table.from_rows("plain", [source.read(0)], {})
    with pytest.raises(InputError, match="neither captions nor labels"):
        pairs.pairs(plain)


def test_tokens_are_as_wide_as_the_longest_caption_needs_and_no_wider(source):
    """Exact, because nothing behind the end of a text is read; one width for the run, so one compiled step."""
    for template, want in (("{}", 8), ("one two three four five {}", 16), ("{}" + " more" * 90, 77)):
        found = pairs.pairs(source, templates=("{}", template))
        assert pairs.lengths(found, 77).longest > want - 8
        stream = feed.Feed(found, 4, SPEC, 77, None, 0)
        assert stream.length == want
        for batch in take(stream, 4):
            tokens = batch.arrays["tokens"]
            assert tokens.shape == (4, want)
            assert (tokens.max(1) == 49407).all()  # every text's end is inside
    for context, template in ((12, "{}" + " more" * 90), (5, "{}")):  # never wider than what captions are cut to
        found = pairs.lengths(pairs.pairs(source, templates=(template,)), context)
        assert pairs.text_length(found, context) == context
