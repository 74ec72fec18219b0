"""The house rules of the design: who may import whom, how large a room may be, what never enters the repository."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("clipjax", "checkpoints_convert")
# A room (longest matching prefix) -> what it may import of ours, and of the libraries that are fenced in. "clipjax"
# is the package itself (its version and folder), not what lies in it.
EVERYONE = {"clipjax.errors", "clipjax.files", "clipjax.signatures", "clipjax.skipping", "clipjax.stored"}
ARROWS: dict[str, set[str]] = {
    "clipjax": set(),
    "clipjax.errors": set(),
    "clipjax.files": set(),
    "clipjax.signatures": set(),
    "clipjax.stored": set(),
    "clipjax.pickles": set(),
    "clipjax.progress": set(),
    "clipjax.skipping": set(),
    "clipjax.models": {"clipjax.models", "jax", "flax"},
    "clipjax.text": {"clipjax.text"},
    "clipjax.image": {"clipjax.progress"},  # notes about what a file holds
    "clipjax.hub": {"clipjax", "clipjax.progress"},
    "clipjax.download": {"clipjax.hub", "clipjax.progress"},
    "clipjax.compilation": {"clipjax.progress"},
    "clipjax.parallel": {"clipjax.progress", "jax"},
    "clipjax.cpu": {"jax"},
    "clipjax.gpu": {"jax"},
    "clipjax.encoder": {"clipjax.cpu", "clipjax.gpu", "clipjax.models", "clipjax.parallel", "jax"},
    "clipjax.design": {"clipjax.design"},
    "clipjax.analysis": {"clipjax.analysis", "clipjax.design", "clipjax.keys"},
    "clipjax.keys": set(),
    # What a named data set asks is a design; every kind of source declares the keys it reads.
    "clipjax.data": {
        "clipjax.classes",
        "clipjax.data",
        "clipjax.design",
        "clipjax.image",
        "clipjax.keys",
        "clipjax.pickles",
        "clipjax.progress",
    },
    "clipjax.probes": {"clipjax.probes", "clipjax.analysis", "clipjax.design", "clipjax.parallel", "jax"},
    # Zero-shot answers of any loaded model: of ours and of a user's Python file.
    "clipjax.classifying": {"clipjax.design", "clipjax.probes"},
    "clipjax.custom": {"clipjax.cache", "clipjax.classifying"},
    "clipjax.model": {
        "clipjax.classifying",
        "clipjax.encoder",
        "clipjax.image",
        "clipjax.models",
        "clipjax.text",
        "jax",
    },
    "clipjax.loading": {
        "clipjax.custom",
        "clipjax.download",
        "clipjax.keys",
        "clipjax.text",
        "clipjax.model",
        "clipjax.models",
        "clipjax.progress",
        "checkpoints_convert",
    },
    "clipjax.demo": {"clipjax.analysis", "clipjax.demo", "clipjax.design", "clipjax.image", "clipjax.runs"},
    "clipjax.train": {
        "clipjax.data",
        "clipjax.image",
        "clipjax.models",
        "clipjax.parallel",
        "clipjax.progress",
        "clipjax.text",
        "clipjax.train",
        "jax",
    },
    "clipjax.plan": {
        "clipjax.encoder",
        "clipjax.models",
        "clipjax.parallel",
        "clipjax.plan",
        "clipjax.train",
        "jax",
    },
    "clipjax.testing": {"clipjax.models"},
    "clipjax.cache": {"clipjax.models"},
    "clipjax.classes": set(),
    "clipjax.runs": {
        "clipjax",
        "clipjax.analysis",
        "clipjax.cache",
        "clipjax.classes",
        "clipjax.custom",
        "clipjax.data",
        "clipjax.design",
        "clipjax.image",
        "clipjax.download",
        "clipjax.encoder",
        "clipjax.keys",
        "clipjax.loading",
        "clipjax.model",
        "clipjax.models",
        "clipjax.parallel",
        "clipjax.probes",
        "clipjax.progress",
        "clipjax.runs",
        "clipjax.text",
        "clipjax.train",
        "jax",
    },
    "clipjax.explore": {
        "clipjax",
        "clipjax.analysis",
        "clipjax.cache",
        "clipjax.data",
        "clipjax.design",
        "clipjax.encoder",
        "clipjax.explore",
        "clipjax.image",
        "clipjax.loading",
        "clipjax.models",
        "clipjax.parallel",
        "clipjax.probes",
        "clipjax.progress",
        "clipjax.runs",
        "clipjax.text",
    },
    "clipjax.cli": {
        "clipjax",
        "clipjax.analysis",
        "clipjax.classes",
        "clipjax.cli",
        "clipjax.compilation",
        "clipjax.data",
        "clipjax.demo",
        "clipjax.design",
        "clipjax.download",
        "clipjax.explore",
        "clipjax.image",
        "clipjax.loading",
        "clipjax.models",
        "clipjax.parallel",
        "clipjax.plan",
        "clipjax.probes",
        "clipjax.progress",
        "clipjax.runs",
        "clipjax.text",
        "checkpoints_convert",
    },
    "checkpoints_convert": {"checkpoints_convert", "clipjax.models", "clipjax.pickles", "clipjax.text"},
}
FENCED = ("jax", "flax", "torch", "tensorflow", "clipjax", "checkpoints_convert")


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path):
    """Absolute names of everything a file imports, also inside functions; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def room_of(module: str) -> str:
    return max((r for r in ARROWS if within(module, r)), key=len)


def forbidden(module: str, path: Path) -> list[str]:
    if module == "clipjax":
        return []  # the table of contents names everything, lazily
    allowed = ARROWS[room_of(module)] | EVERYONE
    fenced = (n for n in imports(path) if any(within(n, f) for f in FENCED))
    return [n for n in fenced if not any(n == a if a == "clipjax" else within(n, a) for a in allowed)]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_imports_follow_the_arrows(module, path):
    assert room_of(module) != "clipjax" or module == "clipjax", f"{module} has no room in ARROWS"
    assert forbidden(module, path) == []


def test_the_arrow_check_sees_a_wrong_import(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from clipjax.cli import main\n    import torch.nn\n")
    assert forbidden("clipjax.image", wrong) == ["clipjax.cli.main", "torch.nn"]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_files_and_functions_stay_small(module, path):
    source = path.read_text()
    assert source.count("\n") <= 500, f"{module}: split it as one step"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= 70, f"{module}:{node.name} has {length} lines"
    assert path.stem not in ("utils", "helpers", "misc"), f"{module}: name a file by what it holds"


# Where the name of a distribution is not that of what it installs.
DISTRIBUTIONS = {"absl": "absl-py", "orbax": "orbax-checkpoint", "PIL": "pillow", "yaml": "pyyaml"}
EXPLORE = {"starlette", "uvicorn"}  # `clipjax explore` looks for them before it imports the room that needs them


def declared() -> tuple[set[str], set[str]]:
    """Distributions that pyproject.toml requires, and those of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    return tuple({re.match(r"[\w.-]+", line)[0] for line in lines} for lines in (project["dependencies"], extras))


def undeclared(path: Path, required: set[str], optional: set[str]) -> list[str]:
    """Third parties that a file imports without their being required; an extra's counts outside `try` ... `except`."""
    tree = ast.parse(path.read_text())
    tries = [
        n for n in ast.walk(tree) if isinstance(n, ast.Try) and "ImportError" in str([*map(ast.unparse, n.handlers)])
    ]
    guarded = {node for one in tries for body in one.body for node in ast.walk(body)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            for name in {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, *PACKAGES}:
                known = required | optional if node in guarded else required
                known = {one.replace("-", "_") for one in known}
                found += [name] if DISTRIBUTIONS.get(name, name).replace("-", "_") not in known else []
    return found


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_imported_is_declared(module, path):
    required, optional = declared()
    assert undeclared(path, required | (EXPLORE if within(module, "clipjax.explore") else set()), optional) == []


def test_the_check_of_declarations_sees_what_is_missing(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import os, numpy.linalg\ntry:\n    import av\nexcept ImportError:\n    import h5py, no.such\n")
    assert sorted(undeclared(wrong, *declared())) == ["h5py", "no"]


def test_importing_clipjax_is_light():
    """No device is started and no heavy library is imported before one is needed."""
    code = (
        "import sys, clipjax; clipjax.tokenize(['a']); "
        "print([m for m in ('jax', 'flax', 'torch', 'pandas', 'statsmodels', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_public_names_resolve_and_have_docstrings():
    import clipjax

    for name in clipjax.__all__:
        assert getattr(clipjax, name).__doc__, name
    for module in (clipjax, clipjax.probes):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = module.nothing


def test_the_contracts_functions_are_there_after_one_import():
    code = (
        "import clipjax, clipjax.runs.rates; clipjax.probes.linear.fit; clipjax.analysis.clopper_pearson; "
        "assert callable(clipjax.analysis.sweep) and callable(clipjax.analysis.chi_squared); print('there')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert out.stdout.strip() == "there", out.stderr
