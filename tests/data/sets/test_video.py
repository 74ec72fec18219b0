"""UCF101, Kinetics-700 and RareAct on miniatures of their own layouts."""

import sys

import numpy as np
import pytest

from clipjax.data.sets import kinetics700, rareact, ucf101
from clipjax.errors import InputError

STEP = 6  # grey levels from one frame to the next: more than compression at BITS blurs
BITS = 4_000_000


def clip(path, seconds=1.0, rate=10):
    """A clip whose frame i has grey level STEP * i; ten frames per second."""
    av = pytest.importorskip("av", reason="PyAV is the extra [video]")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 32, 24, "yuv420p", BITS
        for i in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), STEP * i, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def number(picture):
    """Which frame of its clip this is, by its grey level."""
    return round(np.asarray(picture).mean() / STEP)


def names(source):
    return [source.labels.names[i] for i in source.labels.index]


ARCHERY = "Archery/v_Archery_g01_c01.avi"
BREAST = "BreastStroke/v_BreastStroke_g08_c01.avi"
PUSHUPS = "HandstandPushups/v_HandStandPushups_g15_c01.avi"
TRAIN = "Archery/v_Archery_g22_c01.avi"


def ucf(root, lists=((ARCHERY,), (BREAST,), (PUSHUPS,)), seconds=1.0):
    folder = root / "ucfTrainTestlist"
    folder.mkdir(parents=True)
    for i, listed in enumerate(lists, 1):
        (folder / f"testlist0{i}.txt").write_text("".join(f"{name}\r\n" for name in listed))
        (folder / f"trainlist0{i}.txt").write_text(f"{TRAIN} 3\n")
    for name in (ARCHERY, BREAST, PUSHUPS, TRAIN):
        clip(root / "UCF-101" / name, seconds)


def test_ucf101_is_the_three_test_splits_together(tmp_path):
    ucf(tmp_path)
    s = ucf101.open_source(tmp_path)
    assert names(s) == ["Archery", "Breast Stroke", "Hand Stand Pushups"]
    assert s.protocol["split"].tolist() == ["test1", "test2", "test3"]
    assert s.files.tolist() == [ARCHERY, BREAST, PUSHUPS]
    assert number(s.image(1)) == 5
    second = ucf101.open_source(tmp_path, "test2")
    assert names(second) == ["Breast Stroke"]
    assert second.protocol["split"].tolist() == ["test2"]
    assert names(ucf101.open_source(tmp_path / "ucfTrainTestlist", "train1")) == ["Archery"]


def test_ucf101_by_all_frames(tmp_path):
    ucf(tmp_path, seconds=0.3)
    s = ucf101.open_source(tmp_path, protocol="all")
    assert len(s) == 9
    assert s.protocol["video"].tolist() == [ARCHERY] * 3 + [BREAST] * 3 + [PUSHUPS] * 3
    assert [number(s.image(i)) for i in range(3)] == [0, 1, 2]
    assert s.fingerprint != ucf101.open_source(tmp_path).fingerprint


@pytest.mark.parametrize("listed", ["Handstand", "HandStand"])
@pytest.mark.parametrize("folder", ["Handstand", "HandStand"])
@pytest.mark.parametrize("file", ["Handstand", "HandStand"])
def test_ucf101_finds_the_action_that_is_spelt_in_two_ways(tmp_path, listed, folder, file):
    ucf(tmp_path, lists=((ARCHERY,), (BREAST,), (f"{listed}Pushups/v_{listed}Pushups_g15_c01.avi",)))
    (tmp_path / "UCF-101" / PUSHUPS).unlink()
    (tmp_path / "UCF-101" / "HandstandPushups").rmdir()
    clip(tmp_path / "UCF-101" / f"{folder}Pushups" / f"v_{file}Pushups_g15_c01.avi")
    s = ucf101.open_source(tmp_path, "test3")
    assert names(s) == ["Hand Stand Pushups"]
    assert number(s.image(0)) == 5


def test_ucf101_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"testlist01\.txt is missing"):
        ucf101.open_source(tmp_path)
    ucf(tmp_path / "twice", lists=((ARCHERY,), (BREAST,), (ARCHERY,)))
    with pytest.raises(InputError, match=r"Archery_g01_c01\.avi is in the test lists twice"):
        ucf101.open_source(tmp_path / "twice")
    ucf(tmp_path / "other", lists=(("Juggling/a.avi",), (BREAST,), (PUSHUPS,)))
    with pytest.raises(InputError, match='"Juggling" is none of the 101 classes'):
        ucf101.open_source(tmp_path / "other")
    ucf(tmp_path / "gone")
    (tmp_path / "gone" / "UCF-101").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds none of the 3 clips"):
        ucf101.open_source(tmp_path / "gone")
    with pytest.raises(InputError, match='no split "test4"'):
        ucf101.open_source(tmp_path / "gone", "test4")
    prepared = tmp_path / "ucf101" / "ucf101_1" / "2.0.0"
    prepared.mkdir(parents=True)
    (prepared / "features.json").write_text("{}")
    with pytest.raises(InputError, match="as TFDS prepares it"):
        ucf101.open_source(prepared)


KINETICS = [
    ("zumba", "aaaaaaaaaaa", 417, 427),
    ("abseiling", "-bbbbbbbbbb", 3, 13),
    ("making a cake", "ccccccccccc", 0, 10),
    *((f"{action} again", "gone_______", 0, 10) for action in "zumba yoga archery juggling crying bowling".split()),
]


def kinetics(root, listing="val.csv", rows=KINETICS):
    (root / listing).parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"{label},{name},{start},{end},val\n" for label, name, start, end in rows)
    (root / listing).write_text(f"label,youtube_id,time_start,time_end,split\n{body}")


@pytest.mark.parametrize(
    ("listing", "place"),
    [
        ("val.csv", "val/{label}/"),
        ("annotations/val.csv", "val/{under}/"),
        ("validate.csv", "validate/"),
        ("kinetics700_val.csv", ""),
    ],
)
def test_kinetics_is_what_is_left_of_it(tmp_path, listing, place):
    kinetics(tmp_path, listing)
    for label, name, start, end in KINETICS[:3]:
        below = place.format(label=label, under=label.replace(" ", "_"))
        clip(tmp_path / f"{below}{name}_{start:06d}_{end:06d}.mp4")
    s = kinetics700.open_source(tmp_path)
    assert s.labels.names[:2] == ("abseiling", "archery again")
    assert s.labels.names == tuple(sorted(s.labels.names))
    assert len(s.labels.names) == 9
    assert names(s) == ["zumba", "abseiling", "making a cake"]
    assert number(s.image(0)) == 5
    assert len(kinetics700.open_source(tmp_path, protocol="all")) == 30


def test_kinetics_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"val\.csv is missing"):
        kinetics700.open_source(tmp_path)
    kinetics(tmp_path)
    with pytest.raises(InputError, match=r"none of the 9 clips of val\.csv, the first is aaaaaaaaaaa_000417_000427"):
        kinetics700.open_source(tmp_path)
    clip(tmp_path / "val" / "aaaaaaaaaaa_000417_000427.mp4")
    with pytest.raises(InputError, match='no protocol "every"'):
        kinetics700.open_source(tmp_path, protocol="every")
    kinetics(tmp_path, rows=[("zumba", "aaaaaaaaaaa", "soon", 427)])
    with pytest.raises(InputError, match="the times of aaaaaaaaaaa are not numbers"):
        kinetics700.open_source(tmp_path)
    kinetics(tmp_path, rows=[(f"action {i}", "aaaaaaaaaaa", 417, 427) for i in range(701)])
    with pytest.raises(InputError, match="701 labels, Kinetics700 has 700"):
        kinetics700.open_source(tmp_path)


RAREACT = [
    (0, "vid_A", 0, 2, 1, "cut", "keyboard", 1),
    (1, "vid_A", 2, 4, 0, "wash", "keyboard", 2),
    (2, "vid_B", 0, 2, 1, "cut", "keyboard", 0),
    (3, "vid_A", 0, 2, 1, "cut", "keyboard", 1),  # equal lines are in the published file too
]


def rare(root, rows=RAREACT, videos=True):
    root.mkdir(parents=True, exist_ok=True)
    body = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (root / "rareact.csv").write_text(f"id,video_id,start,end,class_id,verb,noun,annotation\n{body}")
    if videos:
        clip(root / "videos" / "vid_A.mp4", seconds=4)
        clip(root / "videos" / "vid_B.avi", seconds=2)


def test_rareact_has_one_row_per_line(tmp_path):
    rare(tmp_path)
    s = rareact.open_source(tmp_path)
    assert s.labels.names == ("wash keyboard", "cut keyboard")
    assert names(s) == ["cut keyboard", "wash keyboard", "cut keyboard", "cut keyboard"]
    assert s.protocol["annotation"].tolist() == [1, 2, 0, 1]
    assert s.protocol["noun"].tolist() == ["keyboard"] * 4
    assert s.protocol["youtube_id"].tolist() == ["vid_A", "vid_A", "vid_B", "vid_A"]
    assert [number(s.image(i)) for i in range(4)] == [10, 30, 10, 10]


def test_rareact_by_seconds(tmp_path):
    rare(tmp_path)
    s = rareact.open_source(tmp_path, protocol="seconds")
    assert len(s) == 8
    assert [number(s.image(i)) for i in range(4)] == [5, 15, 25, 35]
    video = s.protocol["video"].tolist()
    assert [video.index(v) for v in video] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert s.fingerprint != rareact.open_source(tmp_path).fingerprint


def test_rareact_segments_may_end_after_their_video_but_not_begin_there(tmp_path):
    rare(tmp_path, [(0, "vid_A", 0, 10, 0, "cut", "keyboard", 1), (1, "vid_A", 20, 30, 0, "cut", "keyboard", 1)])
    s = rareact.open_source(tmp_path)
    assert number(s.image(0)) == 39
    with pytest.raises(InputError, match=r"vid_A\.mp4 has no frame at 25 s"):
        s.image(1)


def test_rareact_says_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"rareact\.csv is missing"):
        rareact.open_source(tmp_path)
    rare(tmp_path, videos=False)
    with pytest.raises(InputError, match=r"holds none of the 2 videos, the first is vid_A\.mp4"):
        rareact.open_source(tmp_path)
    clip(tmp_path / "vid_A.mp4", seconds=4)
    with pytest.raises(InputError, match=r"vid_B\.mp4 cannot be opened as video .No such file"):
        rareact.open_source(tmp_path).image(2)
    (tmp_path / "vid_B.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"vid_B\.mp4 cannot be opened as video"):
        rareact.open_source(tmp_path).image(2)
    with pytest.raises(InputError, match="no protocol"):
        rareact.open_source(tmp_path, protocol="all")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"clipjax\[video\]"):
        rareact.open_source(tmp_path).image(0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, "v", 0, 2, 1, "cut", "keyboard", 5), "line 3: annotation 5 from 0 to 2"),
        ((1, "v", 2, 2, 1, "cut", "keyboard", 1), "line 3: annotation 1 from 2 to 2"),
        ((1, "v", "x", 2, 1, "cut", "keyboard", 1), "line 3 has a text for a number .invalid literal"),
        ((1, "v", 0, 2, 0, "cut", "hat", 1), 'class 0 is "cut keyboard" and "cut hat"'),
        ((1, "v", 0, 2, 2, "cut", "hat", 1), "has 2 classes, not numbered from 0"),
    ],
)
def test_rareact_table_is_checked(tmp_path, row, message):
    rare(tmp_path, [(0, "v", 0, 2, 0, "cut", "keyboard", 1), row], videos=False)
    with pytest.raises(InputError, match=message):
        rareact.open_source(tmp_path)
