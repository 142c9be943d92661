from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli
from worker.cli.argument_types import moment
from worker.core.moments import Ago

NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-03-01 07:00"),
        ("2h", "2026-03-01 06:30"),
        ("3d", "2026-02-26 08:30"),
        ("today", "2026-03-01 00:00"),
        ("yesterday", "2026-02-28 00:00"),
    ],
)
def test_a_time_ago_is_counted_from_now(text: str, expected: str) -> None:
    """A time ago is counted back from now, and a day from midnight (UTC)."""
    ago = moment(text)
    assert isinstance(ago, Ago)
    assert f"{expected}:00+00:00" == str(ago.at(NOW))


@pytest.mark.parametrize("text", ["", ".", "/"])
@pytest.mark.parametrize(
    "words",
    [
        ("drain", "--metrics-file"),
        ("status", "--metrics-file"),
        ("status", "--html"),
        ("backup",),
    ],
)
def test_a_file_needs_a_name(cli: Cli, words: tuple[str, ...], text: str) -> None:
    """A path that names no file is refused before anything is done."""
    said = cli(*words, text)
    assert (2, "") == (said.code, said.out)
    assert f"{text!r} names no file: write its path and its name" in said.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--since", "90m"), ["2", "3"]),
        (("--since", "30m"), ["3"]),
        (("--until", "30m"), ["1", "2"]),
        (("--since", "90m", "--until", "30m"), ["2"]),
        (("--since", "99999d"), ["1", "2", "3"]),
        (("--since", "99999d", "--until", "99999d"), []),
    ],
)
def test_filters_take_a_time_ago(cli: Cli, words: tuple[str, ...], found: list[str]) -> None:
    """The filters --since and --until take a time ago."""
    for hours in (2, 1, 0):
        at = datetime.now(UTC) - timedelta(hours=hours)
        cli.insert(updated_at=f"{at:%Y-%m-%d %H:%M:%S}")
    assert found == [row[0] for row in cli("list", *words).rows()[1:]]
