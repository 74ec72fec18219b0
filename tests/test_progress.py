"""The progress line: what a terminal sees, what a file sees, what the log keeps."""

import io
import json
import os

import pytest

from clipjax.progress import Progress, say


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    monkeypatch.delenv("CLIPJAX_QUIET", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def run(stream, steps, total=100, unit="images", seconds=1.0, **options):
    clock = Clock()
    with Progress("encode", total, unit, stream, clock=clock, **options) as progress:
        for n in steps:
            clock.now += seconds
            progress.update(n)


def test_a_terminal_has_one_line_rewritten_in_place():
    stream = Terminal()
    run(stream, [10, 10, 80])
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    frames = text.split("\r\x1b[K")[1:]
    assert frames[0] == "encode: 10/100 images  10%  10.0 images/s  ETA 0:09"
    assert frames[1] == "encode: 20/100 images  20%  10.0 images/s  ETA 0:08"
    assert frames[-1] == "encode: 100/100 images  100%  33.3 images/s  in 0:03\n"


def test_a_terminal_is_not_redrawn_faster_than_ten_times_a_second():
    stream = Terminal()
    run(stream, [1] * 100, seconds=0.01)
    # The first update, then about one in ten of the hundred; the end is drawn always.
    assert 10 <= stream.getvalue().count("\r") <= 12


def test_plain_output_is_whole_lines_at_most_every_five_seconds():
    stream = io.StringIO()
    run(stream, [10] * 10, seconds=2.0)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    # Updates at 2, 4, ... 20 s: lines at 6, 12 and 18 s, and the end.
    assert lines == [
        "encode: 30/100 images  30%  5.0 images/s  ETA 0:14",
        "encode: 60/100 images  60%  5.0 images/s  ETA 0:08",
        "encode: 90/100 images  90%  5.0 images/s  ETA 0:02",
        "encode: 100/100 images  100%  5.0 images/s  in 0:20",
    ]


def test_a_short_stage_is_one_plain_line():
    stream = io.StringIO()
    run(stream, [50, 50], seconds=0.5)
    assert stream.getvalue() == "encode: 100/100 images  100%  100.0 images/s  in 0:01\n"


def test_bytes_are_shown_in_megabytes_and_start_is_not_in_the_rate():
    stream = Terminal()
    run(stream, [5_000_000], total=353_976_522, unit="B", seconds=2.0, start=100_000_000)
    first, last = stream.getvalue().split("\r\x1b[K")[1:]
    # (353.98 - 105) MB at 2.5 MB/s are 99.6 s.
    assert first == "encode: 105.0/354.0 MB  29%  2.5 MB/s  ETA 1:40"
    assert last == "encode: 105.0/354.0 MB  29%  2.5 MB/s  in 0:02\n"


def test_where_everything_was_there_before_there_is_no_rate():
    stream = io.StringIO()
    clock = Clock()
    with Progress("encode", 100, "images", stream, start=100, clock=clock):
        clock.now += 1
    assert stream.getvalue() == "encode: 100/100 images  100%  in 0:01\n"


def test_without_a_total_there_is_no_percentage_and_no_eta():
    stream = Terminal()
    run(stream, [3], total=None, unit="")
    assert stream.getvalue().split("\r\x1b[K")[1] == "encode: 3  3.0/s"


def test_eta_follows_the_last_half_minute_and_not_a_slow_start():
    stream, clock = io.StringIO(), Clock()
    with Progress("encode", 10_000, "images", stream, clock=clock) as progress:
        clock.now += 600.0  # compiling
        progress.update(1)
        for _ in range(40):
            clock.now += 1.0
            progress.update(100)
        assert "100.0 images/s" in stream.getvalue().splitlines()[-1]


def test_an_hour_and_an_empty_total_and_no_time_at_all():
    stream = Terminal()
    run(stream, [1], total=3662, seconds=1.0)
    assert "ETA 1:01:01" in stream.getvalue()
    stream = Terminal()
    run(stream, [], total=0)
    assert stream.getvalue() == "\r\x1b[Kencode: 0/0 images  in 0:00\n"
    stream = Terminal()
    run(stream, [1], seconds=0.0)
    assert "encode: 1/100 images  1%\r" in stream.getvalue()


def test_a_hundred_percent_is_never_shown_early():
    stream = Terminal()
    run(stream, [999], total=1000)
    assert "99%" in stream.getvalue()
    assert "100%" not in stream.getvalue()


def test_an_error_leaves_the_line_whole_and_says_stopped():
    stream, clock = Terminal(), Clock()

    def fail_midway():
        with Progress("encode", 100, "images", stream, clock=clock) as progress:
            clock.now += 1
            progress.update(7)
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert stream.getvalue().endswith("encode: 7/100 images  7%  7.0 images/s  stopped\n")


@pytest.mark.parametrize("columns", [30, 40, 200])
def test_a_narrow_terminal_never_wraps(columns, monkeypatch):
    class Narrow(Terminal):
        def fileno(self):
            return 2

    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    stream, clock = Narrow(), Clock()
    stage = "download a-very-long-file-name-of-some-model.safetensors"
    with Progress(stage, 100, "images", stream, clock=clock) as progress:
        clock.now += 1
        progress.update(7)
    frames = stream.getvalue().rstrip("\n").split("\r\x1b[K")[1:]
    assert max(map(len, frames)) < columns
    assert frames[0].startswith("download")
    assert (stage in frames[0]) == (columns == 200)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    run(stream, [100])
    assert "\r" not in stream.getvalue()


def test_the_log_has_one_event_per_update_with_the_callers_fields(tmp_path):
    log = tmp_path / "run" / "log.jsonl"
    with Progress("encode", 4000, "images", io.StringIO(), log=log, start=576) as progress:
        progress.update(64, encoded=64)
        # On disk before the next batch starts, so that a killed run knows what it did.
        assert len(log.read_text().splitlines()) == 1
        progress.update(64, encoded=0)
    with Progress("score", 1, "", io.StringIO(), log=log) as progress:
        progress.update()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(isinstance(event.pop("time"), float) for event in events)
    assert events == [
        {"stage": "encode", "encoded": 64, "n": 640, "total": 4000},
        {"stage": "encode", "encoded": 0, "n": 704, "total": 4000},
        {"stage": "score", "n": 1, "total": 1},
    ]


@pytest.mark.parametrize("kept", ["", '{"n": 1}\n'])
def test_a_line_torn_by_a_kill_is_dropped_and_whole_lines_are_kept(tmp_path, kept):
    log = tmp_path / "log.jsonl"
    log.write_text(kept + '{"n": 2, "to')
    with Progress("encode", 3, "", io.StringIO(), log=log) as progress:
        progress.update()
    lines = log.read_text().splitlines(keepends=True)
    assert "".join(lines[:-1]) == kept
    assert json.loads(lines[-1])["stage"] == "encode"


def test_nothing_ever_goes_to_stdout(capsys):
    with Progress("encode", 1) as progress:
        progress.update()
    say("a note")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("encode: 1/1  100%")
    assert captured.err.endswith("a note\n")


@pytest.mark.parametrize(("value", "silent"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_quiet_silences_the_line_and_the_notes_but_not_the_log(tmp_path, monkeypatch, capsys, value, silent):
    monkeypatch.setenv("CLIPJAX_QUIET", value)
    with Progress("encode", 1, log=tmp_path / "log.jsonl") as progress:
        progress.update()
    say("a note")
    assert (capsys.readouterr().err == "") == silent
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1


def test_a_quiet_process_of_a_pod_says_nothing():
    stream = io.StringIO()
    run(stream, [100], quiet=True)
    assert stream.getvalue() == ""


def test_say_clears_a_progress_line_on_a_terminal():
    stream = Terminal()
    say("waiting", stream)
    assert stream.getvalue() == "\r\x1b[Kwaiting\n"
    plain = io.StringIO()
    say("waiting", plain)
    assert plain.getvalue() == "waiting\n"


def test_a_closed_stream_does_not_end_the_work(tmp_path):
    stream = io.StringIO()
    stream.close()
    with Progress("encode", 1, stream=stream, log=tmp_path / "log.jsonl") as progress:
        progress.update()
    assert (tmp_path / "log.jsonl").exists()
