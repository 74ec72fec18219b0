"""Tests that need XLA's TPU compiler are skipped, aloud, where the extra `clipjax[tpu]` is missing."""

import importlib.util

import pytest


def pytest_collection_modifyitems(items):
    """The ordinary run leaves them out by the marker `tpu_compiler` (pyproject.toml)."""
    if importlib.util.find_spec("libtpu") is None:
        for item in items:
            if item.get_closest_marker("tpu_compiler"):
                item.add_marker(pytest.mark.skip(reason="needs libtpu: pip install 'clipjax[tpu]'"))
