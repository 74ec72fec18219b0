"""The marker of tests that need XLA's TPU compiler (the extra `clipjax[tpu]`); without it they are skipped."""

import importlib.util

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "tpu_compiler: compiles with libtpu (the extra [tpu]); no TPU needed; minutes")


def pytest_collection_modifyitems(config, items):
    """Deselected unless asked for by `-m`; skipped where libtpu is missing."""
    asked = "tpu_compiler" in (config.getoption("-m") or "").replace("not tpu_compiler", "")
    kept, left = [], []
    for item in items:
        marked = item.get_closest_marker("tpu_compiler")
        if marked and not asked:
            left.append(item)
            continue
        if marked and importlib.util.find_spec("libtpu") is None:
            item.add_marker(pytest.mark.skip(reason="needs libtpu: pip install 'clipjax[tpu]'"))
        kept.append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
