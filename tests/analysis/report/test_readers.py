"""What every kind of run writes, in the programs that read it: LaTeX, pandas, DuckDB and LibreOffice.

pip install duckdb; apt-get install libreoffice-calc, texlive-latex-recommended. What is not installed is not tested.
"""

import csv
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from support import every_kind, latex

pytestmark = pytest.mark.exhaustive

# For "Text - txt - csv": comma, double quote, UTF-8, from row 1, no formats, no language, "format quoted field as text"
# and "detect special numbers" on.
SPREADSHEET = "--infilter=Text - txt - csv (StarCalc):44,34,76,1,,0,true,true"
OPEN = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}%s"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """kind -> the folder that a report or a comparison of it was written to."""
    return every_kind.build(tmp_path_factory.mktemp("kinds"))


def records(folder):
    return json.loads((folder / "metrics.json").read_text())["records"]


def runs(kinds):
    return {kind: folder for kind, folder in kinds.items() if (folder / "metrics.json").exists()}


@latex.needs_pdflatex
def test_all_tables_of_all_kinds_compile_in_two_columns(kinds, tmp_path):
    files = [file for folder in kinds.values() for file in sorted((folder / "tables").glob("*.tex"))]
    assert len(files) > 60
    latex.check_compiles(files, tmp_path)


def test_every_number_is_in_full_in_a_csv(kinds):
    for kind, folder in runs(kinds).items():
        with open(folder / "tables" / "metrics.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, record in zip(rows, records(folder), strict=True):
            assert row["metric"] == record["metric"], kind
            for key in ("k", "n", "value", "low", "high", "p"):
                assert row.get(key, "") == ("" if record.get(key) is None else repr(record[key])), (kind, key)
            for column, value in (record.get("group") or {}).items():
                assert row[f"group.{column}"].removeprefix("'") == value, kind


def test_every_file_has_one_header_and_no_cell_that_is_a_picture_of_several(kinds):
    for folder in kinds.values():
        for path in (folder / "tables").glob("*.csv"):
            with open(path, encoding="utf-8", newline="") as file:
                head, *rows = csv.reader(file)
            assert len(set(head)) == len(head), path
            cells = [cell for row in rows for cell in row if not path.name.startswith("paper_table")]
            assert not [cell for cell in cells if re.search(r"\[-?[\d.]+%?, -?[\d.]+%?\]|^\{|^\['", cell)], path


def test_pandas(kinds):
    pandas = pytest.importorskip("pandas")
    for kind, folder in runs(kinds).items():
        read = pandas.read_csv(folder / "tables" / "metrics.csv", keep_default_na=False, na_values=[""])
        assert all(read[key].dtype.kind in "if" for key in ("n", "value", "low", "high") if key in read), kind
        if "group.code" in read:
            assert set(read["group.code"].dropna()) == {f"'{c}" if c[0] in "=-" else c for c in every_kind.CODES}
        wanted = [record["value"] for record in records(folder) if record["value"] is not None]
        assert read["value"].dropna().tolist() == wanted, kind


def test_duckdb(kinds):
    duckdb = pytest.importorskip("duckdb")
    for kind, folder in runs(kinds).items():
        table = duckdb.read_csv(str(folder / "tables" / "metrics.csv"))
        types = dict(zip(table.columns, map(str, table.types), strict=True))
        assert all(types[key] in ("BIGINT", "DOUBLE") for key in ("n", "value", "low", "high") if key in types), kind
        assert all(type_ == "VARCHAR" for name, type_ in types.items() if name.startswith("group.")), (kind, types)
    paired = duckdb.read_csv(str(kinds["compare"] / "tables" / "paired_by_code.csv"))
    types = dict(zip(paired.columns, map(str, paired.types), strict=True))
    assert (types["testable"], types["p"], types["difference"]) == ("BOOLEAN", "DOUBLE", "DOUBLE")
    found = {row[0] for row in paired.select('"group.code"').fetchall()}
    assert found == {f"'{code}" if code[0] in "=-" else code for code in every_kind.CODES}


@pytest.mark.skipif(shutil.which("soffice") is None, reason="no LibreOffice")
@pytest.mark.parametrize("column", ["age", "code"])
def test_libreoffice(kinds, tmp_path, column):
    """As a user opens it with the option "format quoted field as text": groups are text, numbers numbers."""
    path = kinds["rates"] / "tables" / f"rates_by_{column}.csv"
    command = ["soffice", "--headless", f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", SPREADSHEET]
    command += ["--convert-to", "fods", "--outdir", str(tmp_path), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    sheet = ET.parse(tmp_path / f"{path.stem}.fods")
    head, *rows = [_cells(row) for row in sheet.iter(OPEN % ("table", "table-row"))]
    place = {said: i for i, (_, said) in enumerate(head)}
    groups = [row[place[f"group.{column}"]] for row in rows if len(row) > 5]
    assert {kind for kind, _ in groups} == {"string"}
    named = every_kind.AGES.values() if column == "age" else every_kind.CODES
    assert {said.removeprefix("'") for _, said in groups} == set(named)
    for key in ("k", "n", "value", "low", "high"):
        assert {row[place[key]][0] for row in rows if len(row) > 5} == {"float"}, key


def _cells(row):
    """(type, text) of each cell of a row of a flat spreadsheet."""
    found = []
    for cell in row.iter(OPEN % ("table", "table-cell")):
        times = int(cell.get(OPEN % ("table", "number-columns-repeated"), 1))
        said = "".join("".join(part.itertext()) for part in cell.iter(OPEN % ("text", "p")))
        found += [(cell.get(OPEN % ("office", "value-type")), said)] * min(times, 50)
    return found
