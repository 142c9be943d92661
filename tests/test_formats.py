import csv
import io
import json
import os
import re
import tracemalloc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.formats import FormatError, Reject, Row, read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1 << 20
CODEC = "; try --encoding cp1252, or name its own"
QUOTES = "; put a cell that holds ',' in quotes"


def records(content: bytes) -> list[Row | Reject]:
    """Return all that a file of this content gives."""
    return list(read(io.BytesIO(content)).records)


def rows(content: bytes) -> list[tuple[int, dict[str, object]]]:
    """Return the rows of a file, of which no line may be a reject."""
    assert not reasons(content)
    return [(row.line, dict(row.values)) for row in records(content) if isinstance(row, Row)]


def reasons(content: bytes) -> dict[int, str]:
    """Return the rejects of a file by line."""
    return {record.line: record.reason for record in records(content) if isinstance(record, Reject)}


def row_lines(content: bytes) -> list[int]:
    """Return the lines of a file that rows begin in."""
    return [record.line for record in records(content) if isinstance(record, Row)]


class Chunks(io.RawIOBase):
    """A stream that cannot seek and is made as it is read, like a pipe."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        """Say yes, as a raw stream must."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer, from one chunk at a time."""
        target = memoryview(buffer).cast("B")
        self._rest = self._rest or next(self._chunks, b"")
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"url,title\nu,t\n", [(2, {"url": "u", "title": "t"})]),
        (b"url,title\r\nu,t\r\n", [(2, {"url": "u", "title": "t"})]),
        (b"url,title\nu,t", [(2, {"url": "u", "title": "t"})]),
        (b"\xef\xbb\xbfurl,title\nu,t\n", [(2, {"url": "u", "title": "t"})]),
        (b"\n \t\r\nurl\nu\n\n  \nv\n", [(4, {"url": "u"}), (7, {"url": "v"})]),
        (
            b'url,title\nu,"a\r\nb\n\nc"\nv,"say ""hi"""\n',
            [
                (2, {"url": "u", "title": "a\r\nb\n\nc"}),
                (6, {"url": "v", "title": 'say "hi"'}),
            ],
        ),
        (b'"multi\nline",url\na,b\n', [(3, {"multi\nline": "a", "url": "b"})]),
        (b" url , title\na,b\n", [(2, {"url": "a", "title": "b"})]),
        (b"url,,\nu,x,y\n", [(2, {"url": "u"})]),
        (b"url,title\nu,\n", [(2, {"url": "u", "title": ""})]),
        (b"url,title\nu,a\0b\n", [(2, {"url": "u", "title": "a\0b"})]),
        ("url,title\nu,Häxan ナマ\n".encode(), [(2, {"url": "u", "title": "Häxan ナマ"})]),
        (b"url;title\nu;a,b\n", [(2, {"url": "u", "title": "a,b"})]),
        (b"url\ttitle\nu\ta,b;c\n", [(2, {"url": "u", "title": "a,b;c"})]),
        (b'"a,b,c";"d"\nu;t\n', [(2, {"a,b,c": "u", "d": "t"})]),
        (b'{"url": "u"}\n', [(1, {"url": "u"})]),
        (b'{"url": "u", "title": NaN}\n', [(1, {"url": "u", "title": None})]),
        (b'\xef\xbb\xbf{"url": "u"}\r\n \n{"n": [1, 2.5, null]}', None),
    ],
)
def test_well_formed_files_are_read(
    content: bytes, expected: list[tuple[int, dict[str, object]]] | None
) -> None:
    """A sound file gives each of its records once, with its line and under its own names."""
    assert (expected or [(1, {"url": "u"}), (3, {"n": [1, 2.5, None]})]) == rows(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id,,url\n", ("id", "url")),
        (b"id;url\r\n", ("id", "url")),
        (b"\xef\xbb\xbfid\n", ("id",)),
        (b'{"id": 1}\n', None),
    ],
)
def test_columns_are_known_before_the_first_row(
    content: bytes, expected: tuple[str, ...] | None
) -> None:
    """A CSV header is known first, and a missing column is found before any row is read."""
    assert expected == read(io.BytesIO(content)).columns


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n \n", "empty"),
        (b' \n[{"url": "u"}]', r"jq -c '\.\[\]'"),
        ("url,title\n".encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff\0u\0\n", "iconv -f UTF-16 -t UTF-8"),
        ("url,title\n".encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
        (b"\xff\xfe" + b"u\0" * MIB, "iconv -f UTF-16 -t UTF-8"),
        (b"PK\x03\x04\x14\0\6\0", "a workbook or an archive: save the list as CSV in UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1", "a workbook or an archive: save the list as CSV in UTF-8"),
        (b"url,title,url,title\n", "more than one column 'url', 'title'"),
        (b",,\n", "names no column"),
        (b'""\n', "names no column"),
        (b'url,"title\nu,t\n', "quoted cell is not closed"),
        (b"u\0r\0l\0\n\0", "import it with --encoding UTF-16LE, or convert .* -f UTF-16LE -t"),
        (b"\0u\0r\0l\0\n", "import it with --encoding UTF-16BE, or convert .* -f UTF-16BE -t"),
        ("url,title\n".encode("utf-32-le"), "iconv -f UTF-32LE -t UTF-8"),
        (b'url,"ti\rtle\nu,t\n', "quoted cell is not closed"),
        (b"url,titl\xe9\n", "line 1 is not UTF-8 at byte 9: 0xe9"),
        (b"u" * (MIB + 1), "line 1 is longer than 1 MiB"),
    ],
)
def test_files_that_cannot_be_read_say_why(content: bytes, message: str) -> None:
    """A file that is no list at all is refused as a whole, with its reason and the way out."""
    with pytest.raises(FormatError, match=message):
        read(io.BytesIO(content))


HTTP = "https://e.org/"
SIGNED = f"{HTTP}1.mp4?Signature=SECRET"


@pytest.mark.parametrize(
    "content",
    [
        f"{HTTP}1.mp4\n{HTTP}2.mp4",
        f"\ufeff\ufeff# my list\r\n\r\n{HTTP}1.mp4\r\n  # two\r\n{HTTP}2.mp4\r\n",
        f'"{HTTP}1.mp4"\n"{HTTP}2.mp4"\n',
        f"{HTTP}1.mp4\r{HTTP}2.mp4\r",
        f" {HTTP}1.mp4 \n\t{HTTP}2.mp4\t\n",
        f"{HTTP}1.mp4,,\n{HTTP}2.mp4;\n",
    ],
)
def test_a_list_of_addresses_needs_no_header(content: str) -> None:
    """A file of nothing but addresses is a column ``url``; blank lines and comments are skipped."""
    reading = read(io.BytesIO(content.encode()))
    found = [dict(row.values) for row in reading.records if isinstance(row, Row)]
    stripped = [{name: str(value).strip() for name, value in row.items()} for row in found]
    assert ("url",) == reading.columns
    assert [{"url": f"{HTTP}1.mp4"}, {"url": f"{HTTP}2.mp4"}] == stripped


@pytest.mark.parametrize("header", ["", "url\n", "URL\r\n", '"url"\n', "\ufeffurl\n\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ["a,b.mp4", "w_300,h_200/c.mp4"],
        ["a.mp4", "b,c", "v.mp4?t=1,2", "d;e.webm", "talk.mp4?x=a,b&y=c"],
        ["video_,300,500,.mp4.csmil/master.m3u8"],
        ["J.Doe,talk.mp4", "v1.0,final.mov?token=1"],
        ["hls/,240p.mp4,480p.mp4,.urlset/master.m3u8", "v?list=a.mp4,b.mp4"],
    ],
)
def test_an_address_may_hold_commas(header: str, lines: list[str]) -> None:
    """A column of addresses alone is not cut at the commas in them."""
    content = header + "".join(f"{HTTP}{line}\n" for line in lines)
    assert [f"{HTTP}{line}" for line in lines] == [
        next(iter(values.values())) for _, values in rows(content.encode())
    ]


@pytest.mark.parametrize("around", ["\u200b{}", "\xa0{}", "\u201c{}\u201d", "<{}>", "`{}`"])
@pytest.mark.parametrize("link", [f"{HTTP}1.mp4", "valossaupload://1"])
def test_no_address_is_a_header_whatever_is_around_it(around: str, link: str) -> None:
    """A list that begins with an address in quotes or invisible characters loses no video."""
    line = around.format(link)
    assert [1, 2] == row_lines(f"{line}\n{HTTP}2.mp4\n".encode())
    with pytest.raises(FormatError, match="There is no header"):
        read(io.BytesIO(f"{line},One\n{HTTP}2.mp4,Two\n".encode()))


def test_a_header_is_put_in_where_the_table_begins() -> None:
    """The proposed command puts the header after the line that names the delimiter."""
    with pytest.raises(FormatError, match=r"sed -i '2i url;column2' FILE"):
        read(io.BytesIO(f"sep=;\n{HTTP}1.mp4;One\n".encode()))


def test_json_lines_with_byte_order_marks_in_between_are_rows() -> None:
    """Files that were put together keep their marks, and lose no line by them."""
    assert [1, 2] == row_lines(b'{"url": "u"}\n\xef\xbb\xbf{"url": "v"}\n')


def test_a_compressed_list_is_told_as_one() -> None:
    """A gzip file is named an archive, and not a list in another encoding."""
    with pytest.raises(FormatError, match="is a workbook or an archive"):
        read(io.BytesIO(b"\x1f\x8b\x08\0\0\0"))


@pytest.mark.parametrize(
    ("content", "header", "first"),
    [
        (f"{HTTP}1.mp4,One\n{HTTP}2.mp4,Two\n", "url,column2", f"{HTTP}1.mp4,One"),
        (f"{HTTP}1.mp4;One\n{HTTP}2.mp4;Two\n", "url;column2", f"{HTTP}1.mp4;One"),
        (f"{HTTP}1.mp4\tOne\n", r"url\tcolumn2", f"{HTTP}1.mp4\\tOne"),
        (f"7,{HTTP}1.mp4,\n8,{HTTP}2.mp4,\n", "column1,url,column3", f"7,{HTTP}1.mp4,"),
        (f"{HTTP}1.mp4,{HTTP}1.srt\n", "url,column2", f"{HTTP}1.mp4,{HTTP}1.srt"),
        (f'"{HTTP}1.mp4","A, b"\n', "url,column2", f"{HTTP}1.mp4,A, b"),
        (f"{SIGNED},One\n{SIGNED},Two\n", "url,column2", f"{HTTP}1.mp4?…,One"),
        ("s3://bucket/1.mp4,One\n", "url,column2", "s3://bucket/1.mp4,One"),
        (f"{HTTP}talk,7\n{HTTP}talk,8\n", "url,column2", f"{HTTP}talk,7"),
        (f"FTP://e.org/1.mp4,One\n{HTTP}2,Two\n", "url,column2", "ftp://e.org/1.mp4,One"),
    ],
)
def test_a_table_without_a_header_names_its_first_line_and_the_header_to_put_in(
    content: str, header: str, first: str
) -> None:
    """No video is taken for the header, and the proposed line makes the file a list."""
    with pytest.raises(FormatError) as caught:
        read(io.BytesIO(content.encode()))
    told = str(caught.value)
    assert f"There is no header. Put one in with sed -i '1i {header}' FILE, " in told
    assert f"The first line is '{first}'" == told.partition("). ")[2]
    mended = header.replace(r"\t", "\t") + "\n" + content
    assert content.count("\n") == len(rows(mended.encode()))


@pytest.mark.parametrize("later", [f"{HTTP}2.mp4,Two", f"{HTTP}2.mp4;Two", f"{HTTP}2.mp4|Two"])
@pytest.mark.parametrize("header", ["", "url\n"])
def test_a_second_cell_is_no_part_of_an_address(later: str, header: str) -> None:
    """A line with two cells in a list of addresses is a reject, and the others are rows."""
    content = header + f"{HTTP}1.mp4\n" * 200 + later + f"\n{HTTP}3.mp4\n"
    line = 201 + header.count("\n")
    assert {line: f"the header has 1 cells, this record 2{QUOTES}"} == reasons(content.encode())
    assert 201 == len(row_lines(content.encode()))


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\nurl;title\nu;a, b\n",
        b'\xef\xbb\xbf"sep=;"\r\n\r\nurl;title\r\nu;"a, b"\r\n',
        b"SEP=^\nurl^title\nu^a, b\n",
        b"sep=\t\nurl\ttitle\nu\ta, b\n",
        b"url|title\nu|a, b\n",
        b"url\ttitle\nu\ta, b\n",
        b"url;title,\nu;a, b\nv;c, d, e\n",
        b'"url";"title, long"\n"u";"a, b"\n',
    ],
)
def test_the_delimiter_is_named_or_counted(content: bytes) -> None:
    """A ``sep=`` line names the delimiter; else most rows have it as often as the header."""
    first, *_ = rows(content)
    assert ["u", "a, b"] == list(first[1].values())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"u", {"url": "u"}),
        (b"u,t", {"url": "u", "title": "t"}),
        (b"u,t,,,  ,", {"url": "u", "title": "t", "n": ""}),
        (b'"u","t",3,""', {"url": "u", "title": "t", "n": "3"}),
        (b",,", None),
        (b" , ,,,,", None),
        (b'"","",""', None),
        ("\xa0,\xa0".encode(), None),
    ],
)
def test_rows_may_lack_empty_cells_or_have_more(
    row: bytes, expected: dict[str, object] | None
) -> None:
    """Empty last cells may be missing or too many, and a row of nothing is as a blank line."""
    found = rows(b"url,title,n\na,b,c\n" + row + b"\nd,e,f\n")
    between = [values for line, values in found if line == 3]
    assert (between, [2, 4]) == (
        [] if expected is None else [expected],
        [line for line, _ in found if line != 3],
    )


def test_a_carriage_return_alone_ends_lines_where_it_ends_the_first() -> None:
    """CR ends the lines of a file whose first line it ends; elsewhere it is a part of a cell."""
    mac = b'\rurl,title\ru,"a\rb"\r\rv,t'
    assert [(3, {"url": "u", "title": "a\rb"}), (6, {"url": "v", "title": "t"})] == rows(mac)
    assert [(1, {"a": 1}), (2, {"b": "\r"})] == rows(b'{"a": 1}\r{"b": "\\r"}\r')
    assert [(2, {"url": "u", "title": "a\rb"})] == rows(b'url,title\nu,"a\rb"\n')


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp037"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_is_read_in_the_encoding_that_is_named(encoding: str, end: str) -> None:
    """Any text encoding of Python reads as UTF-8 does."""
    content = end.join(["url,title", "u,café", 'v,"d, e"', ""]).encode(encoding)
    found = [(row.line, dict(row.values)) for row in read(io.BytesIO(content), encoding).records]  # type: ignore[union-attr]
    assert [(2, {"url": "u", "title": "café"}), (3, {"url": "v", "title": "d, e"})] == found


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("cp1252", b"\x81"),
        ("shift_jis", b"\x81\x20"),
        ("ascii", b"\xe9"),
        ("utf-8-sig", b"\xe9"),
        ("utf-7", b"+2AA-"),
    ],
)
def test_bytes_of_another_encoding_are_rejects(encoding: str, bad: bytes) -> None:
    """A line that is not of the named encoding is a reject, and the others are rows."""
    content = b"url,title\na,b\nu," + bad + b"\nc,d\n"
    found = list(read(io.BytesIO(content), encoding).records)
    assert [Row, Reject, Row] == [type(each) for each in found]
    assert f"line 3 is not {encoding.upper()}{CODEC.replace('cp1252', 'utf-8')}" in str(found[1])


ITEM = {"url": f"{HTTP}1.mp4", "tags": ["a"]}


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (json.dumps([ITEM, ITEM]), "jq -c '.[]' FILE"),
        (json.dumps([ITEM, ITEM], indent=2), "jq -c '.[]' FILE"),
        (json.dumps([1, [2]]), "jq -c '.[]' FILE"),
        (json.dumps([f"{HTTP}1.mp4"]), "jq -r '.[]' FILE"),
        (json.dumps({"videos": [ITEM, ITEM]}), "jq -c '.videos[]' FILE"),
        (json.dumps({"total": 2, "videos": [ITEM]}, indent=2), "jq -c '.videos[]' FILE"),
        (json.dumps({"videos": [ITEM] * 30_000}), "jq -c '.videos[]' FILE"),
        (json.dumps({"a": [1], "my videos": [ITEM]}), "jq -c '.\"my videos\"[]' FILE"),
        (json.dumps({"videos": [f"{HTTP}1.mp4"]}), "jq -r '.videos[]' FILE"),
        (json.dumps({"data": {"items": [ITEM]}}), "jq -c '..|.items?|arrays[]' FILE"),
        (json.dumps({"v": [{"url": f"{HTTP}1"}]}).replace("/", "\\/"), "jq -c '.v[]' FILE"),
        ('{"videos": [\n' + json.dumps(ITEM) + "\n]}", "jq -c '.videos[]' FILE"),
        ('{\n"videos": [\n' + json.dumps(ITEM) + ",\n" + json.dumps(ITEM) + "]\n}", "jq -c '.v"),
        ('{"videos": [' + json.dumps(ITEM) + ",\n" + json.dumps(ITEM) + "]}", "jq -c '.videos[]'"),
        (json.dumps(ITEM, indent=2) + "\n" + json.dumps(ITEM, indent=2), "jq -c . FILE"),
        (json.dumps({**ITEM, "speakers": [{"n": HTTP}]}, indent=2), "jq -c . FILE"),
        (2 * f"{json.dumps({'id': 1, 'pictures': [{'n': HTTP}]}, indent=1)}\n", "jq -c . FILE"),
        (json.dumps({"next": HTTP, "of": {"n": 1}, "v": [{"url": HTTP}]}), "jq -c '.v[]' FILE"),
    ],
)
def test_json_that_is_no_json_lines_names_the_command_that_makes_it_so(
    content: str, command: str
) -> None:
    """An array, an object with an array of videos, and objects over several lines are refused."""
    with pytest.raises(FormatError) as caught:
        read(io.BytesIO(content.encode()))
    assert f"JSON Lines wants one object a line: convert it with {command}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'{"url": "u",\n{"url": "v"}\n', [2]),
        (b'{"url": "u"\n', []),
        (b'{"url": "u"},\n{"url": "v"} , \n', [1, 2]),
        (b'{"id": 1, "speakers": [{"at": "https://e.org"}]}\n{"id": 2}\n', [1, 2]),
        (b'{"url": "u", "speakers": [{"at": "https://e.org"}]}\n', [1]),
        (b'{"id": 1, "tags": [{"n": 1}]}\n', [1]),
        (b'{"id": 1, "tags": [{"n": 1}],\n{"id": 2}\n', [2]),
    ],
)
def test_json_lines_with_a_flaw_or_an_array_stay_json_lines(
    content: bytes, lines: list[int]
) -> None:
    """A broken first line, a comma at the end and an array in a row refuse no file."""
    assert lines == row_lines(content)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"u,t,x", f"the header has 2 cells, this record 3{QUOTES}"),
        (b"u,t,,x", f"the header has 2 cells, this record 4{QUOTES}"),
        (b'u,"t"x', "not CSV: ',' expected after '\"'"),
        (b"u\rv,t", "not CSV: new-line character seen in unquoted field"),
        (b"u,caf\xe9", f"line 3 is not UTF-8 at byte 6: 0xe9{CODEC}"),
        (b"u," + b"t" * MIB, "line 3 is longer than 1 MiB"),
    ],
)
def test_a_broken_csv_line_is_one_reject(line: bytes, reason: str) -> None:
    """A CSV line that cannot be read is rejected alone: the lines around it are rows."""
    content = b"url,title\na,b\n" + line + b"\nc,d\n"
    assert ({3: reason}, [2, 4]) == (reasons(content), row_lines(content))


@pytest.mark.parametrize(
    ("record", "reason", "after"),
    [
        (
            b'u,"t\nx",y\n',
            f"the header has 2 cells, this record 3 (read as far as line 3){QUOTES}",
            4,
        ),
        (b'u,"t\ncaf\xe9\n"\n', f"line 3 is not UTF-8 at byte 4: 0xe9{CODEC}", 5),
    ],
)
def test_a_broken_csv_record_is_one_reject(record: bytes, reason: str, after: int) -> None:
    """A record of several lines that is sound CSV and no row is one reject, not one a line."""
    content = b"url,title\n" + record + b"c,d\n"
    assert [
        Reject(2, reason, record.decode("utf-8", "replace").rstrip()),
        Row(after, {"url": "c", "title": "d"}),
    ] == records(content)


UNCLOSED = "not CSV: a quoted cell is not closed within 1,000 lines and 1 MiB (read as far as line "


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"a,b\nc,d\n", f"{UNCLOSED}4)"),
        (b'a,b\nc,"d"\n', "not CSV: ',' expected after '\"' (read as far as line 4)"),
        (b"a,b\n" * 3_000, f"{UNCLOSED}1002)"),
        (b"a," + b"b" * 400_000 + b"\nc,d\n", f"{UNCLOSED}4)"),
        ((b"a," + b"b" * 400_000 + b"\n") * 4, f"{UNCLOSED}5)"),
    ],
)
def test_an_unclosed_quote_costs_one_line(rest: bytes, reason: str) -> None:
    """A quote that is opened and never closed swallows none of the lines that follow it."""
    content = b'url,title\nu,"t\n' + rest
    assert {2: reason} == reasons(content)
    assert list(range(3, 3 + rest.count(b"\n"))) == row_lines(content)


def test_an_overlong_line_inside_a_quote_is_a_reject_of_its_own() -> None:
    """The look-ahead for a closing quote stops at a line that is too long to be held."""
    content = b'url,title\nu,"t\n' + b"x" * 2 * MIB + b"\nc,d\n"
    expected = {2: f"{UNCLOSED}3)", 3: "line 3 is longer than 1 MiB"}
    assert (expected, [4]) == (reasons(content), row_lines(content))


@pytest.mark.parametrize(
    "line", [b'a","c\n', b'u,"t\n', b'"a"b\n', b"u\n", b'u,"t"\n"x\n'], ids=repr
)
def test_many_broken_lines_are_read_in_linear_time(line: bytes) -> None:
    """In a file that is broken in every line, looking ahead looks at no line twice."""
    content = b"url,title\n" + line * 5_000
    ahead = [
        int(reach[1]) - number
        for number, reason in reasons(content).items()
        if (reach := re.search(r"read as far as line (\d+)", reason))
    ]
    assert content.count(b"\n") - 1 == len(records(content))
    assert sum(ahead) < content.count(b"\n")


def test_long_records_within_the_limits_are_rows() -> None:
    """A description of many lines, or of nearly 1 MiB, is no reason to lose its video."""
    cells = ["x\n" * 999 + "x", "y" * (MIB - 5)]
    content = f'url,title\nu,"{cells[0]}"\nv,"{cells[1]}"\n'.encode()
    assert [
        (2, {"url": "u", "title": cells[0]}),
        (1002, {"url": "v", "title": cells[1]}),
    ] == rows(content)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"url,title", "not JSON at character 1: Expecting value"),
        (b'{"a": 1} {"a": 2}', "not JSON at character 10: Extra data"),
        (b'{"a": "caf\xe9"}', f"line 2 is not UTF-8 at byte 11: 0xe9{CODEC}"),
        (b'{"a": "' + b"t" * MIB + b'"}', "line 2 is longer than 1 MiB"),
        (b'{"a": ' * 50_000 + b"}" * 50_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "an integer of 5,000 digits"),
        (b'{"a": 1e999}', "a number out of range: 1e999"),
        (b'{"a": -Infinity}', "-Infinity is no number in JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' stands 2 times in one object"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' stands 2 times in one object"),
    ],
)
def test_a_broken_json_line_is_one_reject(line: bytes, reason: str) -> None:
    """A JSON line that no row can be made of is rejected alone: the lines around it are rows."""
    content = b'{"url": "u"}\n' + line + b'\n{"url": "v"}\n'
    assert ({2: reason}, [1, 3]) == (reasons(content), row_lines(content))


@pytest.mark.parametrize("opening", [b"url\n", b'{"url": "u"}\n'])
def test_a_reject_shows_the_start_of_its_line(opening: bytes) -> None:
    """A reject holds enough of its line to find it, and never all of a line without end."""
    found = records(opening + b"\xff\xe2\x82\xac" + b"x" * 3_000 + b"\n[,]\r\n")
    expected = ["\ufffd€" + "x" * 1_998, "[,]"]
    assert expected == [record.text for record in found if isinstance(record, Reject)]


def test_a_file_is_read_from_a_pipe() -> None:
    """A list on standard input is read like a file: nothing is looked at twice by seeking."""
    reader, writer = os.pipe()
    os.write(writer, b'url,title\nu,"a\nb"\nv,"open\nw,t\n')
    os.close(writer)
    with open(reader, "rb") as stream:  # noqa: PTH123 - a descriptor has no path
        reading = read(stream)
        found = list(reading.records)
    assert [Row, Reject, Row] == [type(record) for record in found]


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b"url,title\n", b"\nc,d\n"),
        (b'url,title\nu,"t\n', b"\nc,d\n"),
        (b'\xef\xbb\xbf{"url": "u"}\n{"url": "', b'"}\n{"url": "v"}\n'),
    ],
)
def test_a_line_without_end_is_not_held(head: bytes, tail: bytes) -> None:
    """A line of 200 MB is rejected in the memory of a short one, and the next line is a row."""
    filler = b"x" * MIB
    stream = io.BufferedReader(Chunks([head, *[filler] * 200, tail]))
    tracemalloc.start()
    try:
        found = list(read(stream).records)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "longer than 1 MiB" in str(found[-2])
    assert head.count(b"\n") + 2 == found[-1].line
    assert peak < 20 * MIB


def test_a_long_file_is_not_held() -> None:
    """Rows come one at a time: a list of any length is read in the memory of a short one."""
    expected, line = 20_000, b"http://host.example/video.mp4," + b"t" * 1_000 + b"\n"
    stream = io.BufferedReader(Chunks([b"url,title\n", *[line] * expected]))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read(stream).records)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert expected == count
    assert peak < MIB


PIECES = [b'"', b",", b"\n", b"\r", b"a", b";", b"{", b"}", b"[", b":", b" ", b"\0", b"\xff", b"1"]
NOISE = st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join)


@given(st.sampled_from([b"", b"a,b\n", b'{"a":1}\n']), NOISE)
def test_any_bytes_are_read_or_refused(opening: bytes, noise: bytes) -> None:
    """Whatever a file holds, it is refused as a whole or every record has its own line in order."""
    content = opening + noise
    try:
        lines = [record.line for record in records(content)]
    except FormatError:
        return
    assert sorted(set(lines)) == lines
    assert set(lines) <= set(range(1, 2 + content.count(b"\n") + content.count(b"\r")))


def filled(line: bytes, *, header: bool) -> bool:
    """Return True if a line is not blank, and as CSV no row of nothing."""
    text = line.decode("utf-8", "replace")
    broken = "\r" in text.rstrip("\r")
    nothing = header and not broken and not any(map(str.strip, text.split(",")))
    return bool(text.strip(" \t\r")) and not nothing


@given(st.sampled_from([b"a,b\n", b'{"a":1}\n']), NOISE)
def test_no_line_is_lost(opening: bytes, noise: bytes) -> None:
    """Each line with a cell that is not empty, in a file without quotes, is a row or a reject."""
    content = opening + noise.replace(b'"', b"")
    header = opening.startswith(b"a")
    present = [
        number
        for number, line in enumerate(content.split(b"\n"), 1)
        if filled(line, header=header) and not (header and number == 1)
    ]
    assert present == [record.line for record in records(content)]


CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from('",;\t\r\n '))


@given(
    st.lists(st.tuples(CELLS, CELLS).filter(lambda cells: "".join(cells).strip())),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_csv_writes_is_read_back(
    table: list[tuple[str, str]], delimiter: str, encoding: str, quoting: Literal[0, 1]
) -> None:
    """Every cell comes back as it was written, whatever text, quotes and new lines it holds."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, quoting=quoting)
    writer.writerow(("url", "title"))
    expected: list[tuple[int, dict[str, object]]] = []
    for url, title in table:
        expected.append((1 + sink.getvalue().count("\n"), {"url": url, "title": title}))
        writer.writerow((url, title))
    assert expected == rows(sink.getvalue().encode(encoding))


UNQUOTED = st.text(
    st.characters(codec="utf-8", exclude_characters='"\n') | st.sampled_from("\r\0 ")
)


@given(UNQUOTED, UNQUOTED, st.sampled_from(",;\t"), st.sampled_from(["", "\n", "\r\n"]))
def test_a_line_without_quotes_is_what_the_csv_module_makes_of_it(
    first: str, second: str, delimiter: str, end: str
) -> None:
    """That such a line is split without that module changes nothing in cells and rejects."""
    line = f"a{first}{delimiter}{second}{end}"
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        cells = []
    header = [f"c{number}" for number in range(len(cells) or 2)]
    (found,) = records(f"{delimiter.join(header)}\n{line}".encode())
    cells = cells[: len(header)]
    assert isinstance(found, Row) == bool(cells)
    if isinstance(found, Row):
        assert (2, dict(zip(header, cells, strict=True))) == (found.line, found.values)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=4))
def test_what_json_writes_is_read_back(table: list[dict[str, object]]) -> None:
    """Every JSON object comes back as it was written, escaped or not, in its own line."""
    escaped = "\n".join(json.dumps(value) for value in table)
    plain = "\n".join(json.dumps(value, ensure_ascii=False) for value in table)
    expected = list(enumerate(table, 1))
    assert [expected] * 2 == [rows(escaped.encode()), rows(plain.encode())]
