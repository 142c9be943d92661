"""Try lists as spreadsheets and people make them, and exports that went through a spreadsheet."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Cli
from worker.core.import_row import COLUMNS, ImportMapping, admit
from worker.formats import Row, read, write_csv, write_json_lines

List = Callable[..., Path]

ONE, TWO = "https://e.org/1.mp4", "https://e.org/2.mp4"
NOW, LONG = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=6)


def stored(cli: Cli, columns: str = "url, title") -> Sequence[object]:
    """Return these columns of every video, by id."""
    return cli.sql(f"SELECT {columns} FROM videos ORDER BY id")


def advised(text: str, program: str) -> str:
    """Return the command of a message, without what follows it."""
    return text[text.index(f"{program} -") :].strip().partition(", with")[0]


def shell(command: str) -> bytes:
    """Run a command as a person would, and return its output."""
    return subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.PIPE).stdout


def test_nothing_but_addresses_goes_in(cli: Cli, listed: List) -> None:
    """A file of addresses needs no header; a line that is none is a reject."""
    file = listed("# to do", ONE, "", "https://e.org/a,b.mp4", "nonsense", TWO)
    said = cli("import", file)
    assert (1, [ONE, "https://e.org/a,b.mp4", TWO]) == (said.code, stored(cli, "url"))
    assert f"{file}:5: url: must begin with" in said.err


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_the_header_that_is_proposed_makes_it_a_list(cli: Cli, listed: List, bom: bytes) -> None:
    """A table without a header is refused without its signature, and goes in as told."""
    file = listed(bom, f"{ONE}?Signature=SECRET\tOne", f"{TWO}\tTwo", name="my list.tsv")
    said = cli("import", file)
    assert (2, "", True) == (said.code, said.out, "SECRET" not in said.err)
    assert r"sed -i '1i url\tcolumn2' '" in said.err
    shell(advised(said.err, "sed").replace("column2", "title"))
    file.write_bytes(file.read_bytes().replace(b"\xef\xbb\xbf", b""))
    assert 0 == cli("import", file).code
    assert [(f"{ONE}?Signature=SECRET", "One"), (TWO, "Two")] == stored(cli)


def test_a_spreadsheet_of_windows_is_named_and_taken(cli: Cli, listed: List) -> None:
    """A list in cp1252 is a reject that names the flag, which takes it."""
    file = listed(f"sep=;\r\nURL;Title;Media ID\r\n{ONE};Café “1”;7\r\n".encode("cp1252"))
    said = cli("import", file)
    assert (1, True) == (said.code, "--encoding cp1252" in said.err)
    assert 0 == cli("import", file, "--encoding", "cp1252").code
    assert [(ONE, "Café “1”", "7")] == stored(cli, "url, title, media_id")


@pytest.mark.parametrize(
    "name", ["cp9999", "rot13", "idna", "hex", "zlib", "bz2", "undefined", "", "\0"]
)
def test_an_encoding_that_is_none_is_told(cli: Cli, listed: List, name: str) -> None:
    """A wrong name of an encoding is refused with some that are right."""
    said = cli("import", listed("url", ONE), "--encoding", name)
    assert (2, True) == (said.code, "is no encoding; try cp1252, latin-1 or utf-16" in said.err)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_with_two_ways_out(cli: Cli, listed: List, encoding: str) -> None:
    """UTF-16, with or without its mark, goes in by either way that the refusal names."""
    file = listed(f"url,title\r\n{ONE},Café\r\n".encode(encoding))
    said = cli("import", file)
    assert (2, "") == (said.code, said.out)
    flag = said.err.partition("--encoding ")[2].partition(",")[0]
    converted = listed(shell(advised(said.err, "iconv")), name="converted.csv")
    assert 0 == cli("import", file, "--encoding", flag).code
    assert 0 == cli("import", converted, "--allow-duplicates").code
    assert [(ONE, "Café")] * 2 == stored(cli)


def test_a_wrong_encoding_of_a_whole_list_is_told(cli: Cli, listed: List) -> None:
    """A list without the mark that its encoding wants is refused by its name."""
    said = cli("import", listed("url", ONE), "--encoding", "utf-16")
    assert (2, 1) == (said.code, len(said.err.splitlines()))
    assert said.err.endswith("with BOM; name its own encoding with --encoding\n")


def test_hints_come_before_the_first_row_goes_in(cli: Cli, listed: List) -> None:
    """A column that is left out is told before any reject of a row, with its known meaning."""
    first = listed("url,lang,Duration", "nonsense,fi-FI,5", f"{ONE},fi-FI,5")
    second = listed("url,srt", f"{TWO},x", name="second.csv")
    again = " Rows that are in already take it with --update"
    assert [
        f"valossa-ingest: column 'lang' was not used: did you mean --map language=lang?{again}",
        "valossa-ingest: column 'Duration' was not used",
        f"valossa-ingest: column 'srt' was not used: did you mean --map transcript_url=srt?{again}",
    ] == cli("import", first, second).err.splitlines()[:3]


def test_rows_that_are_in_take_a_forgotten_column_as_the_hint_says(cli: Cli, listed: List) -> None:
    """The hint's --map does nothing to rows that are in; with its --update they take the column."""
    file = listed("url,id,lang", f"{ONE},a,fi-FI", f"{TWO},b,sv-SE")
    hints = cli("import", file).err.splitlines()
    flags = [flag for hint in hints for flag in re.findall(r"--\w+(?: \w+=\w+)?", hint)]
    assert ["--map media_id=id", "--update", "--map language=lang", "--update"] == flags
    typed = " ".join(flags).split()
    said = cli("import", file, *typed)
    assert (0, "", "2") == (said.code, said.err, said.pairs()["updated"])
    assert [(ONE, "a", "fi-FI"), (TWO, "b", "sv-SE")] == stored(cli, "url, media_id, language")


def test_json_keys_may_be_spelled_as_a_spreadsheet_does(cli: Cli, listed: List) -> None:
    """Rows of JSON Lines find our columns in other spellings, each row its own."""
    rows = [{"URL": ONE, "Media ID": 7}, {"url": TWO, "mediaId": "8", "x": 1}]
    said = cli("import", listed(*map(json.dumps, rows)))
    assert [(ONE, "7"), (TWO, "8")] == stored(cli, "url, media_id")
    assert "valossa-ingest: column 'x' was not used\n" == said.err


def test_an_update_leaves_a_column_whose_cell_is_missing(cli: Cli, listed: List) -> None:
    """An update empties a column for an empty cell, and leaves it for one that is missing."""
    cli.insert_many({"media_id": n, "url": ONE, "title": "T", "language": "fi"} for n in "ab")
    assert 0 == cli("import", listed("media_id,title,language", "a,new", "b,,"), "--update").code
    assert [("new", "fi"), (None, None)] == stored(cli, "title, language")


# export, and back


def test_an_export_for_excel_begins_with_its_mark(cli: Cli, listed: List) -> None:
    """``export --bom`` begins with the mark of UTF-8, and is read as it is without it."""
    cli.insert(url=ONE, title="Häxan")
    plain, marked = cli("export").out, cli("export", "--bom").out
    assert f"\ufeff{plain}" == marked
    assert 0 == cli("import", listed(marked.encode()), "--allow-duplicates").code
    assert [(ONE, "Häxan")] * 2 == stored(cli)


ODD = ("=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "a\rb", "'\t=1", "'Twas", " x ", "nan")


def test_an_export_holds_no_formula_and_comes_back_as_it_was(cli: Cli, listed: List) -> None:
    """Texts that a spreadsheet would calculate or an import change come back as they were."""
    rows = [{"url": f"{ONE}?{n}", "title": text} for n, text in enumerate(ODD)]
    cli.insert_many(rows)
    file = listed(cli("export", "--columns", "url,title").out.encode())
    table = csv.reader(file.read_text(encoding="utf-8").splitlines(keepends=True))
    assert not [cell for row in table for cell in row if cell.startswith(tuple("=+-@\t\r"))]
    cli.sql("DELETE FROM videos")
    assert 0 == cli("import", file).code
    assert list(ODD) == stored(cli, "title")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(ODD)
VIDEOS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("media_id", "title", "description", "email_group"), TEXTS),
        "priority": st.integers(-5, 5),
        "face_min_relative_height": st.floats(0, 1),
    },
)


@pytest.mark.parametrize("form", [write_csv, write_json_lines])
@given(rows=st.lists(VIDEOS, min_size=1))
def test_what_is_exported_is_read_back(
    form: Callable[..., None], rows: Sequence[dict[str, object]]
) -> None:
    """Every row of an export is admitted with the values that it was written with."""
    filled = [{**dict.fromkeys(COLUMNS), "url": ONE, **row} for row in rows]
    sink = io.StringIO(newline="")
    form(sink, COLUMNS, filled)
    records = list(read(io.BytesIO(sink.getvalue().encode())).records)
    how = ImportMapping(theirs={}, fixed={}, margin=LONG)
    found = [admit(each.values, how, NOW) for each in records if isinstance(each, Row)]
    assert [{n: v for n, v in row.items() if v not in {None, ""}} for row in filled] == found


EXPORTED = "media_id: '123456789012345000' is not there, but the row is from an export"


@pytest.mark.parametrize("flags", [(), ("--update",)])
@pytest.mark.parametrize("column", ["state", "request_id", "Request ID"])
def test_an_exported_row_of_an_unknown_media_id_is_not_bought_anew(
    cli: Cli, listed: List, column: str, flags: Sequence[str]
) -> None:
    """A row whose media id a spreadsheet has changed is a reject; as a new one it is taken."""
    cli.insert(url=ONE, media_id="123456789012345678")
    value = "failed" if column == "state" else "123456789012345678"
    head, row = f"url,media_id,{column}", f"{TWO},123456789012345000,"
    said = cli("import", listed(head, row + value, f"{TWO}?b,,{value}"), *flags)
    assert (1, True) == (said.code, f"list.csv:2: {EXPORTED}" in said.err)
    assert [ONE, f"{TWO}?b"] == stored(cli, "url")
    assert 0 == cli("import", listed(head, row), *flags).code
    assert TWO == cli.row(3)["url"]


def test_an_exported_row_that_is_there_is_skipped(cli: Cli, listed: List) -> None:
    """An export that comes back as it was buys nothing, and is no reject."""
    cli.insert(url=ONE, media_id="a")
    cli.insert(url=TWO, media_id="b", state="submitted", job_id="j")
    said = cli("import", listed(cli("export").out.encode()), "--json")
    assert (0, 2, 0) == (said.code, sum(said.json()["skipped"].values()), said.json()["inserted"])
