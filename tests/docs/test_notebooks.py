"""The notebooks are committed with the outputs that they give: quickly checked here, executed behind a marker."""

import ast
import base64
import io
import json
import re

import pytest
from PIL import Image
from support.notebooks import NOISE, execute, notebooks, text_of

PATHS = notebooks()


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_all_three_are_there():
    assert {path.stem for path in PATHS} == {"interacting_with_clip", "class_design", "weights_to_report"}


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_cells_are_python_and_have_run_in_order(path):
    cells = code_cells(path)
    for number, cell in enumerate(cells, 1):
        ast.parse("".join(cell["source"]))
        assert cell["execution_count"] == number
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
    assert sum(bool(text_of(cell)) for cell in cells) >= len(cells) / 2


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_outputs_name_no_machine_and_pictures_open(path):
    pictures = 0
    for cell in code_cells(path):
        assert not NOISE.search(text_of(cell)), text_of(cell)
        for output in cell["outputs"]:
            if encoded := output.get("data", {}).get("image/png"):
                with Image.open(io.BytesIO(base64.b64decode("".join(encoded)))) as picture:
                    assert picture.width > 100
                pictures += 1
    assert pictures >= 1
    assert path.stat().st_size < 2_000_000


@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_executed_again_they_say_the_same(path):
    """Digits aside: another processor rounds otherwise."""

    def shape(cell):
        return re.sub(r"\s+", " ", re.sub(r"[\d.,-]+", "#", text_of(cell)))

    again = [cell for cell in execute(path).cells if cell.cell_type == "code"]
    for before, after in zip(code_cells(path), again, strict=True):
        assert shape(before) == shape(after), "".join(before["source"])
