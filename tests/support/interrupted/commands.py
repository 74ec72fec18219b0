"""Commands that write, what they write when nothing happens, and one trouble at a time (`processes.py`)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipjax.testing import pictures, tiny_model
from support.hostile import run_files
from support.interrupted.processes import Crashes, End

# What a killed writer leaves beside its target: hidden, and of no use to anybody.
LEFT = (".tmp", ".lock", ".partial", ".orbax-checkpoint-tmp")
NOT_COMPARED = ("log.jsonl", "SHA256SUMS", "plan.json")  # hours, and what sums them up; work in progress
EARLY = ("config.json", "tables/metrics.csv", "tables/metrics.md", "tables/published.md")  # whole, but not yet the last

FINETUNE = """
from clipjax.runs.finetune_config import finetune_config

def get_config():
    config = finetune_config()
    config.model, config.data.source, config.data.path = "{root}/tiny.safetensors", "folder", "{root}/photos"
    config.templates, config.data.context, config.soft_targets = "a photo of a {{}}.", 12, True
    config.steps, config.batch_size, config.optimizer.warmup = 4, 4, 1
    config.log_every, config.checkpoints.every, config.threads = 2, 2, 1
    return config
"""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A command by its words, given where the inputs lie and an empty folder for the outputs; `light`: no jax in it."""

    name: str
    argv: Callable[[Path, Path], list[Any]]
    light: bool = False


def _convert(to: str, name: str) -> Scene:
    words = lambda root, out: ["convert", root / "tiny.safetensors", out / name, f"--to={to}"]  # noqa: E731
    return Scene(f"convert-{to}", words, light=True)


def _data(root: Path) -> list[str]:
    return [f"--config.model={root}/tiny.safetensors", f"--config.data.path={root}/photos"]


SCENES = {
    scene.name: scene
    for scene in (
        _convert("clipjax", "x.safetensors"),
        _convert("openai", "x.pt"),
        _convert("huggingface", "x"),
        _convert("open_clip", "x"),
        Scene("report", lambda root, out: ["report", root / "a/run", root / "b/run", f"--out={out}"], light=True),
        Scene("compare", lambda root, out: ["compare", root / "a/run", root / "b/run", f"--out={out}"], light=True),
        Scene("embed", lambda root, out: [
            "embed", f"--model={root}/tiny.safetensors", f"--images={root}/photos", f"--out={out}/x.npz"]),
        Scene("probe", lambda root, out: [
            "probe", "zeroshot", *_data(root), "--config.batch_size=4", f"--config.cache_dir={out}/.cache",
            f"--out={out}/run"]),
        Scene("prepare", lambda root, out: ["prepare", "zeroshot", *_data(root), f"--out={out}/d"]),
        Scene("finetune", lambda root, out: ["finetune", root / "ft.py", f"--out={out}/run"]),
    )
}  # fmt: skip


def files(out: Path) -> dict[str, Any]:
    """Every finished file by its name: its bytes, or what a manifest says but for the commit, which moves."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        parts = Path(name).parts
        hidden = any(part.endswith(LEFT) or part.startswith(".") for part in parts)
        if not path.is_file() or hidden or path.name in NOT_COMPARED or "checkpoints" in parts:
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".json":
            found[name] = found[name].replace(str(out).encode(), b"OUT")
        if path.name == "manifest.json":
            found[name] = {k: v for k, v in json.loads(found[name]).items() if k != "git_revision"}
    return found


def check(scene: Scene, end: End, kind: str, out: Path, whole: dict[str, Any]) -> None:
    """That nothing is half-written, nothing hangs, and one line is said."""
    told = f"{scene.name} {kind}: {end}"
    if kind == "term" and end.status == -15 and not end.err and not end.changes:
        return  # in the milliseconds before the command itself has begun
    assert end.status in {"kill": (-9, 0), "term": (143, 0), "remove": (0,)}.get(kind, (1, 0)), told
    assert "Traceback" not in end.err, told
    if end.status in (1, 143):
        assert end.line.startswith(f"clipjax {scene.argv(out, out)[0]}: "), told
    there = files(out)
    for name, content in there.items():
        assert name in whole or (name.endswith(".array_record.json") and scene.name == "prepare"), (
            f"{told}: left {name}"
        )
        if name in whole and not name.endswith(EARLY):
            assert content == whole[name], f"{told}: {name} is not whole"
    if any(name.endswith(("manifest.json", "info.json")) for name in there):  # it says that all is there
        assert there.keys() >= whole.keys(), told


class Stage:
    """Inputs, references, servers, and the count of what the scenes have survived."""

    def __init__(self, root: Path):
        self.root, self.survived = root, Counter[str]()
        self._whole: dict[str, tuple[dict[str, Any], int]] = {}
        self._servers: dict[bool, Crashes] = {}
        tiny_model(root / "tiny.safetensors", layers=1)
        pictures(root / "photos", {"cat": 9, "dog": 8})
        (root / "ft.py").write_text(FINETUNE.format(root=root))
        for name, design in (("a", "people-roles"), ("b", "people-roles-child")):
            (root / name).mkdir()
            run_files.finished_run(root / name, "rates", design, groups=1)

    def run(self, scene: Scene, out: Path, kind: str = "", at: int = 1, **more: Any) -> End:
        """The scene's command into `out`."""
        if scene.light not in self._servers:
            programs = {"JAX_NUM_CPU_DEVICES": "1", "CLIPJAX_COMPILATION_CACHE": str(self.root / "programs")}
            (self.root / "programs").mkdir(mode=0o700, exist_ok=True)
            self._servers[scene.light] = Crashes(scene.light, CLIPJAX_CACHE=str(self.root / "cache"), **programs)
        return self._servers[scene.light].run(scene.argv(self.root, out), out, kind, at, **more)

    def close(self) -> None:
        """Ends the servers."""
        for server in self._servers.values():
            server.close()

    def whole(self, scene: Scene) -> tuple[dict[str, Any], int]:
        """What the command writes when nothing happens, and in how many changes of the file system."""
        if scene.name not in self._whole:
            out = self.root / f"whole-{scene.name}"
            out.mkdir()
            end = self.run(scene, out)
            assert end.status == 0, end
            self._whole[scene.name] = files(out), end.changes
        return self._whole[scene.name]

    def suffer(self, scene: Scene, kind: str, at: int = 1, **more: Any) -> End:
        """One trouble; what it may leave; and that the same command again ends as if nothing had been."""
        whole, _ = self.whole(scene)
        out = self.root / f"{scene.name}-{kind}-{at}"
        out.mkdir()
        end = self.run(scene, out, kind, at, **more)
        check(scene, end, kind, out, whole)
        again = self.run(scene, out)
        assert again.status == 0, f"{scene.name} {kind} at {at}, then again: {again}"
        assert files(out) == whole, f"{scene.name} {kind} at {at}, then again"
        shutil.rmtree(out)
        self.survived[f"{scene.name} {kind}"] += 1
        return end
