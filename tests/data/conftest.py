"""Digests of test images are kept in a cache of their own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
