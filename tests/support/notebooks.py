"""Executes the notebooks in a kernel and writes them back without what differs from machine to machine.

pip install -e '.[notebooks]' && python tests/support/notebooks.py [NAME ...]
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "notebooks"
NOISE = re.compile(r"/tmp/\S+|/home/\S+|0x[0-9a-f]{6,}|\d+\.\d+ ?(?:s|seconds|images/s)\b")


def notebooks() -> list[Path]:
    """All of them."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path) -> Any:
    """The notebook with fresh outputs; a cell that raises stops it."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["CLIPJAX_OFFLINE"] = "1"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    found = nbformat.read(path, as_version=4)
    NotebookClient(found, timeout=600, kernel_name="python3").execute()
    return clean(found)


def clean(found: Any) -> Any:
    """Without timings, warnings and machine names: outputs of two machines differ in digits only."""
    found.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in found.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                output.pop("metadata", None)
                if output.output_type != "stream":
                    output["metadata"] = {}
    return found


def text_of(cell: Any) -> str:
    """What a cell printed and showed as text."""
    parts = []
    for output in cell["outputs"]:
        text = output.get("text", output.get("data", {}).get("text/plain", ""))
        parts.append("".join(text))
    return "\n".join(parts)


def main(names: list[str]) -> None:
    """Executes and rewrites the named notebooks, or all."""
    import nbformat

    for path in notebooks():
        if not names or path.stem in names:
            nbformat.write(execute(path), path)
            print(path.name, f"{path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
