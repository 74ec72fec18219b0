"""The screenshots of docs/explorer.md, taken in chromium for the demo's run.

    python experiments/explorer/screenshots.py --demo=clipjax-demo

`clipjax demo --out=DEMO` creates DEMO. Needs Debian's chromium and chromium-driver, and selenium.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.chromium import answered, chromium, opened, serving  # noqa: E402


def add(driver, name: str) -> None:
    """Types a class and Enter, as a user does."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    answered(driver, lambda: driver.find_element(By.ID, "new-name").send_keys(name, Keys.ENTER))


def choose(driver, select: str, text: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    answered(driver, lambda: Select(driver.find_element(By.ID, select)).select_by_visible_text(text))


def labels(driver) -> None:
    from selenium.webdriver.common.by import By

    answered(driver, lambda: driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click())
    choose(driver, "column", "gender")
    field = driver.find_element(By.ID, "percent")
    field.clear()
    answered(driver, lambda: field.send_keys("10", "\n"))


def images(driver) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver.find_element(By.ID, "images").click()
    driver.execute_script("document.getElementById('moves-title').scrollIntoView()")
    loaded = (
        "const all = [...document.querySelectorAll('#sample img')]; return all.length && all.every((i) => i.complete)"
    )
    WebDriverWait(driver, 60, 0.1).until(lambda d: d.execute_script(loaded))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", default="", help="names of some of them, with commas")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with serving(args.demo.name + "/people-roles", cwd=args.demo.parent) as (address, _):
        for name, width, height, dark, steps in SHOTS:
            if args.only and name not in args.only.split(","):
                continue
            with chromium(width, height, dark) as driver:
                opened(driver, address)
                for step in steps:
                    step(driver)
                driver.execute_script("document.activeElement.blur()")
                target = args.out / f"explorer-{name}.png"
                shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
                shot.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
                print(target)


def child(driver) -> None:
    """Who is called a man, before and after there is a word for a child?"""
    add(driver, "child:person")


def several(driver) -> None:
    """The same by every column."""
    child(driver)
    choose(driver, "grouping", "each column")


def wordings(driver) -> None:
    """Three words for a child."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    child(driver)
    Select(driver.find_element(By.ID, "wordings-of")).select_by_visible_text("child")
    driver.find_element(By.ID, "wordings-text").send_keys("\nkid\nschoolchild")
    driver.find_element(By.CSS_SELECTOR, "#wordings-form button").click()
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#wordings svg"))
    driver.execute_script("document.getElementById('wordings-title').scrollIntoView()")


def trail(driver) -> None:
    """Three designs, one after the other."""
    child(driver)
    add(driver, "teenager:person")
    add(driver, "pirate")
    driver.execute_script("document.getElementById('trail-title').scrollIntoView()")


SHOTS = [
    ("default", 1280, 900, False, ()),
    ("child", 1280, 900, False, (child,)),
    ("several", 1280, 900, False, (several,)),
    ("wordings", 1280, 900, False, (wordings,)),
    ("trail", 1280, 900, False, (trail,)),
    ("threshold", 1280, 900, False, (labels,)),
    ("narrow", 400, 1500, False, (child,)),
    ("dark", 1280, 900, True, (child,)),
    ("images", 1280, 900, False, (child, images)),
]

if __name__ == "__main__":
    main()
