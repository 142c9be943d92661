import json
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import exits, output, terminal

MOMENT = datetime(2026, 1, 31, 8, 0, 0, 250_000, tzinfo=UTC)
HOSTILE = "[/red]\\[bold]x[/]\x1b[2J\x00\udcff\u202e\tend\n"


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def drawn(
    columns: list[str], rows: list[list[object]], title: str = "", whole: Sequence[str] = ()
) -> str:
    """Return a table as a terminal gets it."""
    screen = Terminal()
    with redirect_stdout(screen):
        output.table(columns, rows, title, whole)
    return screen.getvalue()


def plain(shown: str) -> str:
    """Return what a terminal shows without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


ROWS: list[list[object]] = [
    [number, "submitted", "A talk " * 9, f"{number:036}"] for number in (9, 12_345)
]


@pytest.mark.parametrize("columns", [120, 80, 73])
def test_a_table_that_fits_is_a_line_a_row(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for ten signs of a cell it is cut, but not the first cell of a row."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = drawn(["id", "state", "video", "last"], ROWS, "Talks", ["state", "last"])
    lines = plain(shown).splitlines()
    rows = [line.split() for line in lines if "submitted" in line]
    assert [["9", f"{9:036}"], ["12345", f"{12_345:036}"]] == [[r[0], r[-1]] for r in rows]
    assert columns >= max(map(len, lines))


@pytest.mark.parametrize("columns", [69, 50, 45])
def test_a_table_that_does_not_fit_is_a_block_a_row(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal that is too narrow no cell of a row is cut, and an empty one is left out."""
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [ROWS[0], [7, "", None, "x" * 36]]
    shown = plain(drawn(["id", "state", "video", "last"], rows, "Talks", ["state", "last"]))
    title, first, second = shown.strip().split("\n\n")
    told = f"id 9 state submitted video {'A talk ' * 9} last {9:036}"
    assert ("Talks", told.split()) == (title, first.split())
    assert f"id    7\nlast  {'x' * 36}" == second
    assert columns >= max(map(len, shown.splitlines()))


def test_off_a_terminal_a_table_is_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal a row is a line without borders, and there is no title."""
    output.table(("id", "title"), [(1, "a\tb\nc"), (2, None)], "Of no use to awk")
    assert "id\ttitle\n1\ta b c\n2\t\n" == capsys.readouterr().out


def test_a_terminal_gets_a_table_with_a_title() -> None:
    """On a terminal a table has columns and a title."""
    shown = plain(drawn(["id", "title"], [[1, "A talk"]], "Talks"))
    lines = [line.strip() for line in shown.splitlines()]
    assert "Talks" == lines[0]
    assert ["id   title", "1    A talk"] == [line for line in lines if "   " in line]


@given(st.text(st.characters() | st.sampled_from("[]/\\=\x1b\x00\udcff\n\t")))
def test_no_cell_can_break_or_command_a_terminal(cell: str) -> None:
    """A cell is printed as text, never as markup or an escape sequence."""
    shown = drawn(["cell"], [[cell]])
    in_a_block = 0  # where the cell is too wide for a table
    assert shown.count("\x1b") in {drawn(["cell"], [["a"]]).count("\x1b"), in_a_block}
    shown.encode()


def test_markup_in_a_cell_is_text() -> None:
    """Markup of rich in a cell stays in sight."""
    assert "[/red]\\[bold]x[/]" in drawn(["cell"], [[HOSTILE]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (MOMENT, "2026-01-31 08:00:00"),
        (" a \r\n b\u2028c ", "a b c"),
        ("a\x1b[31m\x9b0mb\x7f\b", "a\\x1b[31m\\x9b0mb\\x7f\\x08"),
        ("a\0\ud800b", "a\ufffd\ufffdb"),
        ("فيلم 🎬 Ä", "فيلم 🎬 Ä"),
        (3_000 * "x", 2_000 * "x"),
    ],
)
def test_a_value_is_one_readable_line(value: object, text: str) -> None:
    """A value from outside adds no line, column or terminal command."""
    assert text == output.text(value)


def test_pairs_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Names line up, and None is a dash."""
    output.pairs({"due now": 5, "oldest": None, "paused since": MOMENT})
    expected = "due now       5\noldest        -\npaused since  2026-01-31 08:00:00\n"
    assert expected == capsys.readouterr().out


@pytest.mark.parametrize("columns", [120, 80, 50, 1])
def test_a_long_name_is_wrapped_beside_its_value(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of any width a long name takes half of it, and its value stands beside it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ["rejected, url: is a page, not a file; " + "write its address " * 5, "x" * 130]
    screen = Terminal()
    with redirect_stdout(screen):
        output.pairs({**dict.fromkeys(names, 7), "database": "a place " * 20})
    half, lines = max(40, columns) // 2, screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 2 * half
    assert ["7", "7", "a"] == [line[half:].split()[0] for line in lines if not line[0].isspace()]
    assert "".join(names).replace(" ", "") in "".join(line[:half] for line in lines).replace(
        " ", ""
    )
    assert 20 == sum(line[half:].count("place") for line in lines)


@pytest.mark.parametrize("columns", [120, 80, 50])
def test_a_message_breaks_between_words(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal no word of a message is cut in two, and the program's name takes its room."""
    monkeypatch.setenv("COLUMNS", str(columns))
    advice = "move away what is cut, then: valossa-ingest results fetch --missing; resume ends the"
    screen = Terminal()
    with redirect_stderr(screen):
        exits.complain([advice, "short"])
    lines = screen.getvalue().splitlines()
    assert f"valossa-ingest: {advice} valossa-ingest: short".split() == screen.getvalue().split()
    assert (True, "valossa-ingest: short") == (max(map(len, lines)) <= columns, lines[-1])


def test_a_message_is_one_line_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a message in one line, however long it is."""
    exits.complain(["a word " * 60])
    assert 1 == capsys.readouterr().err.count("\n")


def test_no_pairs_are_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """No pairs print nothing."""
    output.pairs({})
    assert "" == capsys.readouterr().out


def test_a_document_is_json_that_any_stream_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """A document is ASCII JSON: times are ISO 8601 in UTC, durations seconds."""
    output.document(
        {"at": MOMENT, "took": timedelta(minutes=1.5), "title": HOSTILE, "none": None, "n": [1]}
    )
    out = capsys.readouterr().out
    out.encode("ascii")
    expected = {
        "at": "2026-01-31T08:00:00.250000Z",
        "took": 90.0,
        "title": HOSTILE,
        "none": None,
        "n": [1],
    }
    assert expected == json.loads(out)


def test_without_a_terminal_nobody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal the answer is no, and nothing is printed."""
    assert not output.ask("sure?")
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (100, "1 min 40 s"),
        (3_600, "1 h"),
        (3_661, "1 h 1 min"),
        (86_400 * 3 + 7_200, "3 d 2 h"),
    ],
)
def test_a_span_is_its_two_largest_units(seconds: float, text: str) -> None:
    """A duration is printed in its two largest units."""
    assert text == output.text(timedelta(seconds=seconds))


def test_counts_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by kind are one readable line."""
    output.pairs({"today": {"accepted": 3, "in_doubt": 1}})
    assert "today  3 accepted, 1 in doubt\n" == capsys.readouterr().out


def test_a_line_of_a_live_block_is_one_line() -> None:
    """A line break in a reason moves none of the lines below."""
    assert "[##]  waiting: a  b" == terminal._styled("[##]  waiting: a\n\tb").plain  # noqa: SLF001


@pytest.mark.parametrize(
    ("text", "kept"), [("a" * 80, 22), ("\u65e5" * 80, 11), ("e\u0301" * 80, 22)]
)
def test_what_is_drawn_anew_begins_at_its_first_line(text: str, kept: int) -> None:
    """Lines are cut by the columns that they take, or the first ones would leave the screen."""
    lines = output._cut([f"{text}\n"] * 30)  # noqa: SLF001
    assert (kept, "\u2026\n") == (len(lines) - 1, lines[-1])
