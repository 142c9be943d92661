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
        (b"url,title,url,title\n", "more than one column 'url', 'title'"),
        (b",,\n", "names no column"),
        (b'""\n', "names no column"),
        (b'url,"title\nu,t\n', "quoted cell is not closed"),
        (b"url\rtitle\ru\r", "new-line character seen in unquoted field[)]"),
        (b"url,titl\xe9\n", "line 1 is not UTF-8 at byte 9: 0xe9"),
        (b"u" * (MIB + 1), "line 1 is longer than 1 MiB"),
    ],
)
def test_files_that_cannot_be_read_say_why(content: bytes, message: str) -> None:
    """A file that is no list at all is refused as a whole, with its reason and the way out."""
    with pytest.raises(FormatError, match=message):
        read(io.BytesIO(content))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"u", "the header has 2 cells, this record 1"),
        (b"u,t,x", "the header has 2 cells, this record 3"),
        (b'u,"t"x', "not CSV: ',' expected after '\"'"),
        (b"u\rv,t", "not CSV: new-line character seen in unquoted field"),
        (b"u,caf\xe9", "line 3 is not UTF-8 at byte 6: 0xe9"),
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
        (b'u,"t\nx",y\n', "the header has 2 cells, this record 3 (read as far as line 3)", 4),
        (b'u,"t\ncaf\xe9\n"\n', "line 3 is not UTF-8 at byte 4: 0xe9", 5),
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
        (b'{"a": "caf\xe9"}', "line 2 is not UTF-8 at byte 11: 0xe9"),
        (b'{"a": "' + b"t" * MIB + b'"}', "line 2 is longer than 1 MiB"),
        (b'{"a": ' * 50_000 + b"}" * 50_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "an integer of 5,000 digits"),
        (b'{"a": 1e999}', "a number out of range: 1e999"),
        (b'{"a": NaN}', "NaN is no number in JSON"),
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
        found = list(read(stream).records)
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
    assert set(lines) <= set(range(1, 2 + content.count(b"\n")))


@given(st.sampled_from([b"a,b\n", b'{"a":1}\n']), NOISE)
def test_no_line_is_lost(opening: bytes, noise: bytes) -> None:
    """Each line that is not blank, in a file without quotes, is a row or a reject: never both."""
    content = opening + noise.replace(b'"', b"")
    header = opening.startswith(b"a")
    present = [
        number
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip(b" \t\r") and not (header and number == 1)
    ]
    assert present == [record.line for record in records(content)]


CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from('",;\t\r\n '))


@given(
    st.lists(st.tuples(CELLS, CELLS).filter(lambda cells: "".join(cells).strip(" \t\r\n"))),
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
