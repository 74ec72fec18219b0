"""The figures of docs/gallery.md: runs the page's own commands and copies what they drew.

python experiments/gallery/run.py            # writes docs/images/gallery-*.svg
python experiments/gallery/run.py --check    # writes nothing; exit status 1 where a figure is another one
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gallery.md"
LARGEST = 60_000  # bytes of a figure
FIGURE = re.compile(r"<!-- figure (\S+) -->\n!\[[^\]]+\]\((\S+)\)")
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The page's shell commands in order."""
    return [block.strip() for block in BLOCK.findall(text)]


def figures(text: str) -> list[tuple[str, str]]:
    """(what a command writes, the image of the page)."""
    return FIGURE.findall(text)


def main(check: bool) -> int:
    """Runs everything in a folder that goes away."""
    text, changed = PAGE.read_text(encoding="utf-8"), []
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"PYTHONPATH": str(ROOT), "CLIPJAX_OFFLINE": "1", "CLIPJAX_CACHE": f"{folder}/cache"}
        shell = f'clipjax() {{ "{sys.executable}" -m clipjax.cli.main "$@"; }}\n'
        for command in commands(text):
            print(f"$ {command}", file=sys.stderr)
            done = subprocess.run(
                ["bash", "-euc", shell + command], cwd=folder, env=env, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stderr)
        for drawn, name in figures(text):
            made, image = (Path(folder) / drawn).read_bytes(), PAGE.parent / name
            assert len(made) < LARGEST, f"{drawn}: {len(made)} bytes"
            if not image.exists() or image.read_bytes() != made:
                changed.append(name)
                if not check:
                    image.write_bytes(made)
            print(f"{name}: {len(made)} bytes")
    print(f"changed: {', '.join(changed) or 'none'}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
