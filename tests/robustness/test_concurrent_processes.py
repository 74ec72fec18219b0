"""Who else is there: other processes on one cache or one run, hosts that die, folders that vanish, clocks that lie."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.probe_processes import argv, command, encoded, finals, run_with, two_hosts

from clipjax.cache import FeatureCache
from clipjax.cli.main import main
from clipjax.testing import pictures


@pytest.fixture(scope="module")
def world(world, tmp_path_factory):
    """A copy, since a test here changes the clocks of its files."""
    return shutil.copytree(world, tmp_path_factory.mktemp("own") / "world")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")


@pytest.fixture(scope="module")
def good(world, tmp_path_factory):
    """A folder with `cache` and `run` that nothing happened to."""
    out = tmp_path_factory.mktemp("good")
    assert main(argv(world, out / "run", f"--config.cache_dir={out}/cache")) == 0
    return out


@pytest.fixture
def reference(good):
    """The bytes of that run."""
    return finals(good / "run")


def cached(path):
    return f"--config.cache_dir={path}"


def numbers(found):
    """What a run says, without where its cache was."""
    config = {k: v for k, v in found["manifest"]["config"].items() if k != "cache_dir"}
    return found | {"manifest": found["manifest"] | {"config": config}}


def test_a_cache_that_vanishes_during_a_run_changes_no_number(world, tmp_path, reference, monkeypatch):
    append, calls = FeatureCache.append, []

    def vanish(self, *args):
        append(self, *args)
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree(tmp_path / "cache")

    monkeypatch.setattr(FeatureCache, "append", vanish)
    assert main(argv(world, tmp_path / "run", cached(tmp_path / "cache"))) == 0
    assert len(calls) > 2
    assert numbers(finals(tmp_path / "run")) == numbers(reference)


@pytest.mark.parametrize("hurt", ["flip", "cut", "swap"])
def test_a_damaged_cache_is_noticed_and_computed_again(world, tmp_path, good, reference, hurt):
    cache = shutil.copytree(good / "cache", tmp_path / "cache")
    logs, arrays = sorted(cache.rglob("*.log")), sorted(cache.rglob("*.npz"))
    assert logs
    assert arrays
    for path in (*logs, *arrays):
        data = bytearray(path.read_bytes())
        if hurt == "flip":
            data[len(data) // 2] ^= 4
        elif hurt == "cut":
            del data[len(data) * 2 // 3 :]
        else:
            data[-40:-20], data[-20:] = data[-20:], data[-40:-20]
        path.write_bytes(data)
    assert main(argv(world, tmp_path / "again", cached(cache))) == 0
    assert numbers(finals(tmp_path / "again")) == numbers(reference)
    assert 0 < encoded(tmp_path / "again") <= 41


def test_clocks_that_were_set_back_or_forward_mean_nothing(world, tmp_path, good, reference):
    """Those of the cache, of the weights and of the images, which are known by their contents."""
    cache = shutil.copytree(good / "cache", tmp_path / "cache")
    for when, path in enumerate((*cache.rglob("*"), world / "tiny.safetensors")):
        os.utime(path, (1, 1) if when % 2 else (2**32 + 10,) * 2)  # 1970 and 2106
    assert main(argv(world, tmp_path / "run", cached(cache))) == 0
    assert encoded(tmp_path / "run") == 0
    assert numbers(finals(tmp_path / "run")) == numbers(reference)
    before = {p: p.stat().st_mtime_ns for p in (world / "photos").rglob("*.jpg")}
    for path in before:
        os.utime(path, (1, 1))
    try:
        assert main(argv(world, tmp_path / "other", cached(cache))) == 0
    finally:
        for path, stamp in before.items():
            os.utime(path, ns=(stamp, stamp))
    assert encoded(tmp_path / "other") == 0
    assert numbers(finals(tmp_path / "other")) == numbers(reference)


def test_a_finished_run_whose_numbers_were_changed_is_made_again(world, tmp_path, good, reference, capsys):
    out = shutil.copytree(good / "run", tmp_path / "run")
    words = argv(world, out, cached(good / "cache"))
    for name in ("metrics.json", "predictions.parquet"):
        data = bytearray((out / name).read_bytes())
        data[len(data) // 2] ^= 1
        (out / name).write_bytes(data)
        assert main(["report", str(out), f"--out={tmp_path / 'report'}"]) == 1
        assert f"{name} is not what the run wrote" in capsys.readouterr().err or name == "metrics.json"
        assert main(words) == 0
        assert "it is made again" in capsys.readouterr().err
        assert numbers(finals(out)) == numbers(reference)
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_disk_that_fills_up_is_one_line_wherever_it_happens(world, tmp_path):
    """No file may grow beyond some bytes: the log, the features, the predictions, the weights of a conversion."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2);"
        "from clipjax.cli.main import main; sys.exit(main())"
    )
    words, env = command(world, tmp_path / "run", tmp_path / "cache")
    end = subprocess.run([sys.executable, "-c", code, "700", *words[3:]], env=env, capture_output=True, text=True)
    assert end.returncode == 1, end.stderr
    assert "Traceback" not in end.stderr
    assert end.stderr.startswith("clipjax probe: ")
    assert end.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "manifest.json").exists()


def start_two_hosts(world, tmp_path, *more):
    """Two processes of one device each, over loopback."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    hosts = []
    for i in range(2):
        flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={i}"]
        words, env = command(world, tmp_path / "run", tmp_path / f"c{i}", *more, *flags)
        env |= {"JAX_NUM_CPU_DEVICES": "1"}
        hosts.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return hosts


def end_one(world, tmp_path, number, where):
    """Two hosts at work, of which the second gets a signal: stderr and status of both, seconds until both ended."""
    log = tmp_path / "run" / "log.jsonl"
    hosts = start_two_hosts(world, tmp_path, where)
    while not (log.exists() and encoded(tmp_path / "run") > 40) and all(h.poll() is None for h in hosts):
        time.sleep(0.02)
    hosts[1].send_signal(number)
    began = time.monotonic()
    ends = [(host.communicate(timeout=300)[1], host.returncode) for host in hosts]
    return ends, time.monotonic() - began


@pytest.mark.exhaustive
def test_a_dead_host_is_told_and_not_waited_for(world, tmp_path):
    """The first host stops with a line, and soon: JAX itself would wait for 100 seconds, and then abort."""
    photos = pictures(tmp_path / "photos", {"a": 300, "b": 300})
    ends, seconds = end_one(world, tmp_path, signal.SIGKILL, f"--config.data.path={photos}")
    (err, status), (_, killed) = ends
    assert (status, killed) == (1, -9), err
    assert err.startswith("clipjax probe: another host of this run has stopped"), err
    assert err.count("\n") == 1, err
    assert seconds < 60


@pytest.mark.exhaustive
def test_hosts_without_a_shared_disk_agree_that_a_run_is_complete(world, tmp_path):
    """Only the first host has the run's files; the second would otherwise wait for it at the first exchange."""
    second = [f"--out={tmp_path / 'elsewhere'}"]
    for _ in range(2):
        ends = two_hosts(world, tmp_path / "run", tmp_path / "c", second=second)
        assert [status for status, _ in ends] == [0, 0], ends
    assert not (tmp_path / "elsewhere" / "manifest.json").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_hosts_that_lost_one_go_on_together(world, tmp_path, number):
    photos = pictures(tmp_path / "photos", {"a": 300, "b": 300})
    where = f"--config.data.path={photos}"
    ends, _ = end_one(world, tmp_path, number, where)
    assert ends[0][1] == 1, ends
    assert ends[1][1] == (143 if number == signal.SIGTERM else -9), ends
    ends = [(host.communicate(timeout=300)[1], host.returncode) for host in start_two_hosts(world, tmp_path, where)]
    assert [status for _, status in ends] == [0, 0], ends
    alone = run_with(world, tmp_path / "alone", tmp_path / "c", 1, where)
    for name in ("predictions.parquet", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.heavy
def test_two_processes_on_one_cache_write_the_same_numbers(world, tmp_path):
    words = [command(world, tmp_path / f"run{i}", tmp_path / "cache") for i in range(2)]
    both = [
        subprocess.Popen(w, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for w, env in words
    ]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert finals(tmp_path / "run0") == finals(tmp_path / "run1")


@pytest.mark.heavy
def test_two_processes_on_one_run_are_told_apart(world, tmp_path):
    photos = pictures(tmp_path / "photos", {"a": 300, "b": 300})
    words, env = command(world, tmp_path / "run", tmp_path / "cache", f"--config.data.path={photos}")
    first = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "log.jsonl").exists() and first.poll() is None:
        time.sleep(0.02)
    second = subprocess.run(words, env=env, capture_output=True, text=True)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert second.returncode in (0, 1), second.stderr
    assert second.returncode == 0 or "another process is writing this run" in second.stderr


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("share", [0.3, 0.8, 20])
def test_a_real_small_disk(world, tmp_path, share):
    """A tmpfs with this share of what a run needs: it fills up somewhere in the middle, grows, and the run goes on."""
    words, env = command(world, tmp_path / "run", tmp_path / "cache")
    subprocess.run(words, env=env, check=True)
    block = 4096  # bytes
    needs = sum(-(-path.stat().st_size // block) * block for path in tmp_path.rglob("*") if path.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(needs * share)}", "tmpfs", disk]).returncode:
        pytest.skip("no right to mount here")
    try:
        words, env = command(world, disk / "run", disk / "cache")
        end = subprocess.run(words, env=env, capture_output=True, text=True)
        assert end.returncode in (0, 1), end.stderr
        assert "Traceback" not in end.stderr
        assert end.returncode == 0 or end.stderr.startswith("clipjax probe: ")
        assert (share < 1) == (end.returncode == 1)
        end = subprocess.run(["mount", "-o", "remount,size=4m", disk])
        end = subprocess.run(words, env=env, capture_output=True, text=True)
        assert end.returncode == 0, end.stderr
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        words, env = command(world, disk / "run", disk / "cache", "--config.classes=cat,dog,key")
        end = subprocess.run(words, env=env, capture_output=True, text=True)
        assert end.returncode == 1
        assert "cannot be written" in end.stderr
        assert "Traceback" not in end.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_names_that_no_file_can_have_are_one_line(world, tmp_path, capsys):
    long = "x" * 300
    for words in (["report", long], ["convert", long, "x.pt"], argv(world, tmp_path / long)):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"clipjax {words[0]}: "), err
        assert err.count("\n") == 1
