"""Tables of numbers from CSV and Excel files, as the corpora publish skeletons."""

import zipfile

import numpy as np
import pytest

from microgesture.data.sheet import read_numbers

HEAD = '<?xml version="1.0"?><worksheet><sheetData>'


def letters(place):
    return (chr(64 + place // 26) if place >= 26 else "") + chr(65 + place % 26)


def sheet(rows, kind=""):
    cells = lambda y, row: "".join(f'<c r="{letters(x)}{y}"{kind}><v>{v}</v></c>' for x, v in enumerate(row))  # noqa: E731
    body = "".join(f'<row r="{y}" spans="1:3">{cells(y, row)}</row>' for y, row in enumerate(rows, start=1))
    return f"{HEAD}{body}</sheetData></worksheet>"


def write_xlsx(path, *sheets):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for number, text in enumerate(sheets, start=1):
            archive.writestr(f"xl/worksheets/sheet{number}.xml", text)


@pytest.mark.parametrize("kind", ["", ' t="n"', ' s="1" t="n"'])
def test_xlsx_and_csv_say_the_same(tmp_path, kind):
    rows = np.random.default_rng(0).uniform(-5, 1280, (300, 33)).round(4)
    rows[7] = 0
    rows[8, 3] = 1.5e-07
    write_xlsx(tmp_path / "a.xlsx", sheet(rows.tolist(), kind))
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", fmt="%.10g")
    table = read_numbers(tmp_path / "a.xlsx", 33)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, rows, rtol=1e-6)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.csv", 33), table)


def test_sheet_longer_than_a_chunk(tmp_path):
    rows = np.arange(60_000.0).reshape(-1, 3)
    write_xlsx(tmp_path / "a.xlsx", sheet(rows.tolist()))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.xlsx", 3), rows)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (sheet([[1, 2, 3], [1, 2]]), "row 2 has 2 numbers, expected 3"),
        (sheet([[1, 2, 3, 4]]), "row 1 has 4 numbers, expected 3"),
        (sheet([[1, 2, 3]], ' t="s"'), "row 1 holds text; expected numbers and no heading"),
        (sheet([["a", 2, 3]]), "could not convert string to float"),
        (f'{HEAD}<row r="1"><c r="A1"><v>1</v></c><c r="B1"/><c r="C1"><v>1</v></c></row>', "row 1 has 2 numbers"),
        (f"{HEAD}<row>{' ' * (9 << 20)}", "longer than any row"),
    ],
)
def test_bad_sheets(tmp_path, text, match):
    write_xlsx(tmp_path / "a.xlsx", text)
    with pytest.raises(
        ValueError, match=rf"a\.xlsx cannot be read as 3 columns of numbers \(.*{match}.*save it as CSV"
    ):
        read_numbers(tmp_path / "a.xlsx", 3)


def test_entities_are_not_followed(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;&a;">]>' + sheet([["&b;", 2, 3]])
    write_xlsx(tmp_path / "a.xlsx", bomb)
    with pytest.raises(ValueError, match="could not convert string to float: b'&b;'"):
        read_numbers(tmp_path / "a.xlsx", 3)


def test_no_archive_and_two_sheets(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="not a zip file"):
        read_numbers(tmp_path / "a.xlsx", 3)
    write_xlsx(tmp_path / "b.xlsx", sheet([[1, 2, 3]]), sheet([[1, 2, 3]]))
    with pytest.raises(ValueError, match="it has 2 sheets, expected one"):
        read_numbers(tmp_path / "b.xlsx", 3)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2\n", "has 2 columns in its first row, expected 3 numbers and no heading"),
        ("", "has 0 columns"),
        ("1,2,3\n1,x,3\n", "cannot be read as 3 columns of numbers"),
        ("1,2,3\n1,2\n", "cannot be read as 3 columns of numbers"),
        ("1,2,3\n1,nan,3\n", "row 2 holds NaN or infinity"),
        ("1,2,inf\n", "row 1 holds NaN or infinity"),
    ],
)
def test_bad_csv(tmp_path, text, match):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_numbers(tmp_path / "a.csv", 3)


def test_one_row_is_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeff1,2,3\n", encoding="utf-8")
    assert read_numbers(tmp_path / "a.csv", 3).tolist() == [[1, 2, 3]]
