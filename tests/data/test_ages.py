"""Ages that a spreadsheet has turned into dates."""

import numpy as np
import pytest

from clipjax.data import ages
from clipjax.errors import InputError

FILES = ["0.png", "1.png", "2.png"]
MANGLED = """9-Mar 09-Mar 03-Sep 9-mar Mar-9 Mar-09 19-Oct Oct-19 9.Mar 2019-10-01 2024-03-09T00:00:00 9/3/2024 3.9.2024
9-March Oct-2019 09.Mrz 19.Okt 19-okt. 9-mars 3月9日 45360""".split()


def check(*written):
    ages.check(np.asarray(written, object), "t.csv", FILES)


@pytest.mark.parametrize("age", [*MANGLED, "2024-03-09 00:00:00", " 9-Mar ", "9. Mar"])
def test_every_spelling_of_a_mangled_age_is_known(age):
    with pytest.raises(InputError, match=r"t\.csv: age .* \(row 1, 1\.png\) .*spreadsheet"):
        check("0-2", age, "3-9")


@pytest.mark.parametrize(
    "written",
    [
        ["0-2", "3-9", "10-19"],
        ["20-29", "more than 70", "60-69"],
        ["child", "adult", "march"],
        ["3", "40", "1.5"],
        ["", None, "Marian-3"],
        ["Mar", "12 months", "100"],
    ],
)
def test_real_ages_pass(written):
    check(*written)
    ages.check(np.array([3, 45360, 12]), "t.csv", FILES)


def test_what_the_range_was_is_said_only_when_it_is_known():
    with pytest.raises(InputError, match='it was "3-9"'):
        check("Mar-09", "x", "y")
    with pytest.raises(InputError) as caught:
        check("2024-03-09", "x", "y")
    assert "it was" not in str(caught.value)
