"""Age ranges that a spreadsheet has turned into dates: "3-9" saved from Excel is "9-Mar"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from clipjax.errors import InputError

# What a spreadsheet makes of the age ranges 3-9 and 10-19, in several languages: 9-Mar, 03-Sep, Mar-9, 19-Oct,
# 19. Okt, a whole date, or the number of days since 1900 (45360).
_MONTHS = {
    name: number
    for number, names in enumerate(
        """jan january|feb february|mar march mär märz mrz mars marzo mrt maart|apr april|may mai|jun june|jul july
        aug august|sep sept september|oct october okt oktober octobre octubre ott ottobre|nov november
        dec december dez""".replace("\n", "|").split("|"),
        start=1,
    )
    for name in names.split()
}
_MONTH = f"(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})"
_DATE = re.compile(
    rf"\d{{1,4}}[-. /]+{_MONTH}\.?(?:[-. /]+\d{{2,4}})?|{_MONTH}[-. /]+\d{{1,4}}"
    r"|\d{4}-\d{1,2}-\d{1,2}(?:[T ].*)?|\d{1,2}[./]\d{1,2}[./](?:\d{2,4})?|\d{1,2}月\d{1,2}日|[2-6]\d{4}",
    re.IGNORECASE,
)


def check(values: np.ndarray, where: str, files: Sequence[str] | np.ndarray) -> None:
    """Raises InputError where a spreadsheet has made dates of age ranges ("9-Mar" was "3-9")."""
    if values.dtype.kind in "iufb":
        return
    for value in dict.fromkeys(values.tolist()):
        if _DATE.fullmatch(str(value).strip()):
            row = values.tolist().index(value)
            raise InputError(
                f'{where}: age "{value}" (row {row}, {files[row]}) is a range that a spreadsheet turned into a date'
                f"{_range_of(value)}; export the column again as text, or take the original table"
            )


def _range_of(date: str) -> str:
    match = re.fullmatch(rf"(?:(\d{{1,2}})[-. ]*)?({_MONTH})\.?[-. ]*(\d{{1,2}})?", date.strip(), re.IGNORECASE)
    if not match or bool(match[1]) == bool(match[3]):
        return ""
    low, high = sorted((_MONTHS[match[2].lower()], int(match[1] or match[3])))
    return f' (it was "{low}-{high}")'
