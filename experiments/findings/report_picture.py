"""docs/images/report.png: the head of the demo's comparison, and its flow figure.

    clipjax demo && python experiments/findings/report_picture.py clipjax-demo/comparison/report.html

Needs Debian's chromium.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

OUT = Path(__file__).parents[2] / "docs" / "images" / "report.png"
WIDTH = 1100


def parts(page: str) -> str:
    """The page with its title, its first section and the flow figure only."""
    head, _, body = page.partition("<main>")
    title = re.search(r"<h1>.*?</h1>", body, re.DOTALL)
    first = re.search(r'<section id="s0">.*?</section>', body, re.DOTALL)
    flow = re.search(r'<figure><img src="[^"]+" alt="Of \d+ images, those that moved.*?</figure>', body, re.DOTALL)
    found = [part[0] for part in (title, first, flow) if part]
    assert len(found) == 3, "not the page of a comparison"
    return f"{head}<main>{''.join(found)}</main></body></html>"


def main(path: Path) -> None:
    """Takes the screenshot and cuts its empty margin."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        page.write_text(parts(path.read_text(encoding="utf-8")), encoding="utf-8")
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={WIDTH},1600",
        ]
        subprocess.run(["chromium", *options, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
        image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    assert box
    image.crop((0, 0, WIDTH, box[3] + 16)).quantize(64).save(OUT, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
