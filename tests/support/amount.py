"""How much a test tries: a part by default, all of it where CLIPJAX_EXHAUSTIVE=1 (`.ci/run`, `.ci/nightly`).

Whole cases that only CI runs have the marker `exhaustive`; this is for numbers of inputs within a test.
"""

import os

EXHAUSTIVE = os.environ.get("CLIPJAX_EXHAUSTIVE", "") == "1"


def amount(everything: int, by_default: int) -> int:
    """`everything` in CI, `by_default` elsewhere."""
    return everything if EXHAUSTIVE else by_default
