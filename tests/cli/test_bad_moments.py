from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli
from worker.simulator import Options, Simulator

KEY = "sk-0123456789abcdef"

IN_FILE = (
    "",
    "soon",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "\x1b]52;c;eA==\x07\u202e",
)
"""Texts that a column of SQLite without a CHECK keeps, as plain SQL may write them."""

ON_SERVER = ("infinity", "-infinity")
"""Moments of PostgreSQL that Python has none for."""

SHARED = ("next_start_at", "cool_down_until", "paused_at", "pace_cut_at")
COLUMNS = [
    *(("history", name) for name in ("at", "started_at")),
    *(("workers", name) for name in ("started_at", "seen_at")),
    *(("account", name) for name in (*SHARED, "list_asked_at", "list_read_at", "written_at")),
]

WAITED_OUT = {"cool_down_until": [pytest.mark.slow]}
"""A cool-down without an end is taken for one of half a minute."""

PAIRS = [
    pytest.param(*column, IN_FILE[place % len(IN_FILE)], marks=WAITED_OUT.get(column[1], []))
    for number, column in enumerate(COLUMNS)
    for place in (number, number + 2)
]
"""Two of the texts for each column, and so each text in several."""

Start = Callable[[Options], Beside]


def stamp(seconds: float) -> str:
    """Return a moment that many seconds from now, as the tables keep it."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S.%f}"


def fill(cli: Cli) -> None:
    """Insert videos, one in doubt between two accepted ones, with their history, and a worker."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": stamp(-60)}
    states = ("submitted", "in_doubt", "submitted", "failed", "pending", "pending")
    for number, state in enumerate(states, 1):
        job = f"job-{number}" if state == "submitted" else None
        attempt = {"attempts": 1, "claims": 1, **claim} if number < 5 else {}
        cli.insert(state=state, job_id=job, updated_at=stamp(-400), **attempt)
        if number < 5:
            fact = {"submitted": "accepted", "failed": "throttled"}.get(state, state)
            row = (number, 1, stamp(number - 500), "w", fact, stamp(number - 500.5), job)
            cli.sql(
                "INSERT INTO history (video_id, attempt, at, who, fact, started_at, job_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                *row,
            )
    cli.sql(
        "INSERT INTO workers (id, host, pid, command, started_at, seen_at)"
        " VALUES ('w', 'alpha', 7, 'run', ?, ?)",
        *(stamp(-600), stamp(-500)),
    )
    cli.sql(
        "UPDATE account SET pace_low = 50, pace_ceiling = 80, pace_cut_at = ?, written_at = ?,"
        " cool_down_reason = 'HTTP 429', list_asked_at = ?, list_read_at = ?",
        *(stamp(-500), stamp(-400), stamp(-300), stamp(-300)),
    )


@pytest.fixture
def api(beside: Start) -> Iterator[Simulator]:
    """Yield an API that takes the key."""
    with beside(Options(keys=frozenset({KEY}))) as simulator:
        yield simulator


@pytest.fixture
def works(cli: Cli, api: Simulator, tmp_path: Path) -> Callable[[str, str, str], None]:
    """Return a function that writes a bad moment and asserts that every command goes on."""

    def works(table: str, column: str, value: str) -> None:
        fill(cli)
        cli.sql(f"UPDATE {table} SET {column} = ?", value)
        variables = {"WORKER_API_URL": api.url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "100"}
        variables |= {"WORKER_MAX_PER_DAY": "1000", "WORKER_LOG_LEVEL": "error"}
        cli.environment.update(variables)
        for words in (("status",), ("workers",), ("list",), ("why",), ("show", "id=2")):
            assert {0} == {cli(*words).code, cli(*words, "--json").code}, words
        assert {0} == {cli("show", f"id={number}").code for number in range(1, 7)}
        assert {0} == {cli("export").code, cli("check").code}
        assert 0 == cli("status", WORKER_MAX_PER_DAY="1").code
        for words in (("health",), ("audit",), ("reconcile", "--dry-run"), ("reconcile",)):
            assert cli(*words).code in {0, 1}, words
        if column in {"paused_at", "cool_down_until"}:
            assert cli("drain", "--max-seconds", 0).code in {0, 1, 75}
            assert [] == api.accepted
            assert 0 == cli("resume").code
            cli.sql("UPDATE account SET cool_down_until = NULL")
        assert cli("drain").code in {0, 1, 75}
        assert 2 == len(api.accepted)
        assert 4 == cli.sql("SELECT count(*) FROM videos WHERE state = 'submitted'")[0]
        assert 0 == cli.bare("move", "--from", cli.url, "--to", tmp_path / "moved.db").code
        assert 0 == cli.bare("status", "--database", tmp_path / "moved.db").code

    return works


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("table", "column", "value"), PAIRS)
def test_a_text_that_is_no_moment_stops_no_command(
    works: Callable[[str, str, str], None], table: str, column: str, value: str
) -> None:
    """Law 14: whatever text plain SQL writes as a moment, every command goes on."""
    works(table, column, value)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("value", ON_SERVER)
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_moment_beyond_the_calendar_stops_no_command(
    works: Callable[[str, str, str], None], table: str, column: str, value: str
) -> None:
    """Law 14: a moment that only PostgreSQL knows stops no command."""
    works(table, column, value)
