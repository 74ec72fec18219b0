"""Starting `clipjax probe` as a user's shell does: other devices, other hosts, kills."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def argv(world, out, *more, config="zeroshot"):
    return ["probe", config, f"--config.model={world}/tiny.safetensors", f"--config.data.path={world}/photos",
            "--config.batch_size=2", f"--out={out}", *more]  # fmt: skip


def encoded(out):
    lines = (out / "log.jsonl").read_text().splitlines()
    return sum(json.loads(line).get("encoded", 0) for line in lines)


def finals(out):
    """The run's bytes; the manifest without the commit, which moves while people work on a clone."""
    manifest = json.loads((out / "manifest.json").read_text())
    manifest.pop("git_revision")
    return {name: (out / name).read_bytes() for name in ("predictions.parquet", "metrics.json")} | {
        "manifest": manifest
    }


def command(world, out, cache, *more):
    env = os.environ | {"CLIPJAX_CACHE": str(cache), "PYTHONPATH": str(ROOT), "CLIPJAX_QUIET": "1"}
    return [sys.executable, "-m", "clipjax.cli.main", *argv(world, out, *more)], env


def run_with(world, out, cache, devices, *more):
    words, env = command(world, out, cache, *more)
    done = subprocess.run(words, env=env | {"JAX_NUM_CPU_DEVICES": str(devices)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def two_hosts(world, out, cache, *more, second=()):
    """Two processes of two devices each, over loopback; `second`: flags of the second alone. (status, stderr) each."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    hosts = []
    for i, own in enumerate(((), second)):
        flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={i}"]
        words, env = command(world, out, f"{cache}{i}", *more, *own, *flags)  # as on hosts that share no disk
        env |= {"JAX_NUM_CPU_DEVICES": "2"}
        hosts.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return [(host.returncode, err) for host in hosts for _, err in [host.communicate(timeout=300)]]


def run_on_two_hosts(world, out, cache, *more):
    """As `two_hosts`, both successful."""
    for status, err in two_hosts(world, out, cache, *more):
        assert status == 0, err
    return out


def kill_at_random(world, out, cache, times, between, *more):
    """Kills the run (SIGKILL) after a random number of further pictures, `times` times; returns how often it could."""
    words, env = command(world, out, cache, *more)
    env |= {"JAX_NUM_CPU_DEVICES": "1"}
    log, kills, rng = out / "log.jsonl", 0, random.Random(0)
    for _ in range(times):
        goal = (encoded(out) if log.exists() else 0) + rng.randint(*between)
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not log.exists() or encoded(out) < goal):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.02))  # anywhere within a batch, not always right after its event
        kills += process.poll() is None
        process.kill()
        process.wait()
    return kills
