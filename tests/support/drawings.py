"""Reports whose figures are built and not drawn: matplotlib takes most of a report's time, and few tests look at them.

`address` and `save` of a Drawing are what a report asks for; a test that draws a figure itself calls `svg` or `png`.
"""

import base64
import contextlib
import html
import io

import pytest
from PIL import Image

from clipjax.analysis.figures import Drawing

REAL = {name: getattr(Drawing, name) for name in ("address", "save")}


def _svg(drawing) -> str:
    from matplotlib.text import Text

    texts = (text.get_text() for text in drawing.figure.findobj(Text))
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(f"<text>{html.escape(t)}</text>" for t in texts)}</svg>'


def _address(drawing) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(_svg(drawing).encode()).decode()}"


def _save(drawing, folder, name) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(_svg(drawing), encoding="utf-8")
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "png")
    (folder / f"{name}.png").write_bytes(out.getvalue())


@contextlib.contextmanager
def _replaced(methods):
    with pytest.MonkeyPatch.context() as patch:
        for name, method in methods.items():
            patch.setattr(Drawing, name, method)
        yield


def undrawn():
    """Within it reports hold the words of their figures, and pictures of one pixel."""
    return _replaced({"address": _address, "save": _save})


def drawn():
    """Within it reports are what a user gets."""
    return _replaced(REAL)
