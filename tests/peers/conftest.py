"""Without the extra [peers] there is nothing here to collect; what the peers warn of is no error of ours."""

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*.py"]


def pytest_collection_modifyitems(items):
    """torch 2.14 deprecates torch.jit, which OpenAI's files are made of, and its tracer warns of every comparison."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
