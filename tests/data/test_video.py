"""Clips that the tests write: middle frames, all frames, and what to say without PyAV."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clipjax.data import pipeline, video
from clipjax.errors import InputError
from clipjax.image import Preprocess

CODECS = {".mp4": "mpeg4", ".avi": "mpeg4", ".mkv": "ffv1"}
STEP = 12  # grey levels from one frame to the next: more than compression blurs


def write(path, n, start=0):
    """A clip whose frame i has grey level start + STEP * i."""
    av = pytest.importorskip("av", reason="PyAV is the extra [video]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), start + STEP * i, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def number(picture, start=0):
    """Which frame this is, by its grey level."""
    return round((np.asarray(picture).mean() - start) / STEP)


@pytest.mark.parametrize("suffix", sorted(CODECS))
@pytest.mark.parametrize(("n", "middle"), [(1, 0), (2, 1), (9, 4), (10, 5)])
def test_middle_frame(tmp_path, suffix, n, middle):
    s = video.of_clips("acts", [write(tmp_path / f"a{suffix}", n)], {"label": [1]}, ["run", "jump"])
    assert s.files.tolist() == s.protocol["video"].tolist() == [f"a{suffix}"]
    assert s.labels.index.tolist() == [1]
    assert s.image(0).mode == "RGB"
    assert s.image(0).size == (32, 24)
    assert number(s.image(0)) == middle


def test_all_frames_repeat_the_columns_of_their_clip(tmp_path):
    clips = [write(tmp_path / "x/a.avi", 5) for _ in [(tmp_path / "x").mkdir()]]
    (tmp_path / "y").mkdir()
    clips.append(write(tmp_path / "y/b.mp4", 3, start=6))
    s = video.of_clips("acts", clips, {"label": [1, 0], "who": ["p", "q"]}, ["run", "jump"], protocol="all")
    assert s.files.tolist() == [f"x/a.avi#{i:06d}" for i in range(5)] + [f"y/b.mp4#{i:06d}" for i in range(3)]
    assert s.protocol["video"].tolist() == ["x/a.avi"] * 5 + ["y/b.mp4"] * 3
    assert s.labels.index.tolist() == [1] * 5 + [0] * 3
    assert s.columns["who"].tolist() == ["p"] * 5 + ["q"] * 3
    assert [number(s.image(i)) for i in range(5)] == list(range(5))
    assert [number(s.image(i), 6) for i in (7, 5, 6)] == [2, 0, 1]


def test_any_order_and_a_window_smaller_than_the_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_WINDOW", 3)
    monkeypatch.setattr(video, "_OPEN", 1)
    clips = [write(tmp_path / "a.avi", 15), write(tmp_path / "b.avi", 15, start=3)]
    s = video.of_clips("acts", clips, {}, protocol="all")
    order = np.random.default_rng(0).permutation(30).tolist()
    expected = [i % 15 for i in order]
    assert [number(s.image(i), 3 * (i // 15)) for i in order] == expected
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda i: number(s.image(i), 3 * (i // 15)), order)) == expected


def test_in_order_every_clip_is_decoded_once(tmp_path, monkeypatch):
    opened = []
    original = video.opened
    clips = [write(tmp_path / f"{c}.avi", 12) for c in "abc"]
    s = video.of_clips("acts", clips, {}, protocol="all")
    monkeypatch.setattr(video, "opened", lambda path: opened.append(path) or original(path))
    spec = Preprocess(8, (0, 0, 0), (1, 1, 1))
    found = list(pipeline.batches(s, range(36), spec, 5, threads=4, dtype=np.uint8))
    assert [number(p) for b in found for p in b.pixels] == list(range(12)) * 3
    assert sorted(opened) == sorted(map(str, clips))


def test_clips_that_cannot_be_read_keep_one_row_and_fail_by_name(tmp_path):
    good = write(tmp_path / "a.avi", 4)
    (tmp_path / "b.avi").write_bytes(b"no clip")
    clips = [good, tmp_path / "b.avi", tmp_path / "c.avi"]
    for protocol, rows in (("middle", [1, 2]), ("all", [4, 5])):
        s = video.of_clips("acts", clips, {"label": [0, 0, 0]}, ["x"], protocol)
        assert len(s) == rows[-1] + 1
        for row, word in zip(rows, ("cannot be opened", "No such file"), strict=True):
            with pytest.raises(InputError, match=rf"acts row {row}: .*[bc]\.avi.* {word}|{word}") as caught:
                s.image(row)
            assert word in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_clip_that_is_shorter_than_it_was(tmp_path):
    path = write(tmp_path / "a.avi", 12)
    s = video.of_clips("acts", [path], {}, protocol="all")
    write(path, 5)
    assert number(s.image(4)) == 4
    with pytest.raises(InputError, match="ends after 5 frames, frame 11 is missing: damaged"):
        s.image(11)


def test_sound_without_pictures(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    s = video.of_clips("acts", [tmp_path / "a.wav"], {})
    with pytest.raises(InputError, match="no video stream"):
        s.image(0)


def test_the_fingerprint_knows_clips_and_protocol_and_not_place_or_labels(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    clips = [write(one / "a.avi", 4), write(one / "b.avi", 5)]
    before = video.of_clips("acts", clips, {}).fingerprint
    assert video.of_clips("other", clips, {"label": [0, 0]}, ["x"]).fingerprint == before
    one.rename(two)
    moved = [two / "a.avi", two / "b.avi"]
    assert video.of_clips("acts", moved, {}).fingerprint == before
    prints = {before, video.of_clips("acts", moved, {}, protocol="all").fingerprint}
    prints.add(video.of_clips("acts", moved[::-1], {}).fingerprint)
    os.utime(moved[1], ns=(0, 5))
    assert video.of_clips("acts", moved, {}).fingerprint == before
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("clips", "columns", "protocol", "word"),
    [
        (["a.avi"], {}, "midle", "it has: middle, all"),
        ([], {}, "middle", "holds no clips"),
    ],
)
def test_wrong_use(clips, columns, protocol, word):
    pytest.importorskip("av")
    with pytest.raises(InputError, match=word):
        video.of_clips("acts", clips, columns, ["x"], protocol)


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r'pip install "clipjax\[video\]"'):
        video.of_clips("acts", ["a.avi"], {})
