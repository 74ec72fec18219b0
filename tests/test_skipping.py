"""The one policy for images that cannot be used."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipjax import skipping
from clipjax.errors import InputError


@pytest.mark.parametrize(
    ("total", "share", "limit"),
    [
        (20, 0, 0),
        (20, 0.01, 1),
        (199, 0.01, 1),
        (200, 0.01, 2),
        (100, 0.29, 29),
        (100, 0.07, 7),
        (3, 1, 3),
        (1, 0.5, 1),
    ],
)
def test_how_many_may_be_skipped(total, share, limit):
    assert skipping.allowed(total, share) == limit


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(InputError, match="is not a share"):
        skipping.allowed(10, share)


def lost(n):
    return [(i, f"{i}.jpg", f"{i}.jpg is empty (0 bytes)") for i in range(n)]


@given(st.integers(2, 500), st.integers(1, 500), st.sampled_from([0, 0.01, 0.1, 0.5]))
def test_the_option_that_the_message_names_is_enough(total, n, share):
    n = min(n, total - 1)
    if n <= skipping.allowed(total, share):
        skipping.check(lost(n), total, share, "photos", "--max-skipped")
        return
    with pytest.raises(InputError) as error:
        skipping.check(lost(n), total, share, "photos", "--max-skipped")
    message = str(error.value)
    assert message.startswith(f"photos: {n} of {total} images cannot be read")
    assert "0.jpg is empty" in message
    found = re.search(r"--max-skipped=(\S+)$", message)
    assert found
    skipping.check(lost(n), total, float(found[1]), "photos", "--max-skipped")


def test_nothing_left_is_always_refused():
    with pytest.raises(InputError, match=r"none of 3 images can be read; the first: 0.jpg is empty"):
        skipping.check(lost(3), 3, 1, "photos", "--max-skipped")
    with pytest.raises(InputError, match=r"^0.jpg is empty"):
        skipping.check(lost(1), 1, 1, "photos", "--max-skipped")
    skipping.check([], 0, 0, "photos", "--max-skipped")


def test_the_first_are_named_and_all_are_counted():
    assert skipping.notes([]) == []
    assert skipping.notes(lost(1)) == ["skipped: 1 image", "  0.jpg is empty (0 bytes)"]
    lines = skipping.notes([*lost(7), (7, "odd\nname.jpg", "damaged")])
    assert lines[0] == "skipped: 8 images"
    assert lines[-1] == "  and 3 more"
    assert len(lines) == 7
    assert skipping.notes([(0, "odd\nname.jpg", "damaged")])[1] == r"  odd\nname.jpg: damaged"
