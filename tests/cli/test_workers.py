from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli, Screen


def moment(seconds: float) -> str:
    """Return a moment that many seconds from now, as the table keeps it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def member(cli: Cli, worker: str, age: float, command: str = "run") -> None:
    """Insert a worker that was last seen that many seconds ago."""
    cli.sql(
        "INSERT INTO workers (id, host, pid, command, started_at, seen_at)"
        " VALUES (?, 'alpha', 7, ?, '2026-01-01 00:00:00', ?)",
        worker,
        command,
        moment(-age),
    )


def in_flight(cli: Cli, worker: str, lease: str = "2030-01-01 00:00:00") -> None:
    """Insert a video that this worker sends."""
    cli.insert(state="submitting", claim_token="t", claimed_by=worker, lease_until=lease, claims=1)


def test_everybody_is_listed(cli: Cli) -> None:
    """Every worker with a row or a claim is listed with its host, state and claims."""
    member(cli, "living", 3)
    member(cli, "silent", 61, "drain")
    in_flight(cli, "living")
    in_flight(cli, "living")
    in_flight(cli, "stranger")
    said = cli("workers", "--json")
    assert 0 == said.code
    living, silent, stranger = said.json()
    assert ("living", "alpha", 7, "run", 2, "alive") == tuple(
        living[name] for name in ("worker", "host", "pid", "command", "in_flight", "state")
    )
    assert "2026-01-01T00:00:00Z" == living["since"]
    assert "2030-01-01T00:00:00Z" == living["leases_end"]
    assert 3 <= living["seen_ago"] < 60
    assert ("silent", "drain", 0, None) == tuple(
        silent[name] for name in ("state", "command", "in_flight", "leases_end")
    )
    assert ("stranger", None, None, 1, None, "unknown") == tuple(
        stranger[name] for name in ("worker", "host", "since", "in_flight", "seen_at", "state")
    )


def test_a_table_says_the_same(cli: Cli) -> None:
    """The table has the columns of the JSON document."""
    member(cli, "living", 3)
    in_flight(cli, "living")
    head, row, *rest = cli("workers").rows()
    assert ["worker", "host", "pid", "command", "since", "in flight"] == head[:6]
    assert ["living", "alpha", "7", "run", "2026-01-01 00:00:00", "1"] == row[:6]
    assert "alive" == row[-1]
    assert [] == rest


@pytest.mark.parametrize("worker", ["silent", "stranger"])
def test_what_becomes_of_the_videos_of_the_dead_is_said(cli: Cli, worker: str) -> None:
    """The videos of a silent worker end in doubt by themselves, and the output says when."""
    member(cli, "silent", 70)
    in_flight(cli, worker, "2030-01-01 00:00:00")
    in_flight(cli, worker, "2030-01-02 00:00:00")
    said = cli("workers").out
    assert (
        "its 2 in flight, they are in doubt by themselves when the last lease ends, at 2030-01"
        in said
    )
    assert "-02 00:00:00 UTC, in whatever run is there then; nothing is to be done" in said


def test_a_silent_one_without_videos_is_no_trouble(cli: Cli) -> None:
    """A silent worker without claims is called harmless."""
    member(cli, "silent", 70)
    expected = "worker silent is silent and has nothing in flight: a run that begins a day later"
    assert expected in cli("workers").out


def test_nobody_is_said_with_the_way_out(cli: Cli) -> None:
    """An empty queue prints the commands that begin."""
    said = cli("workers")
    assert (0, "") == (said.code, said.err)
    assert "nobody works on this queue, and nothing is in flight: valossa-ingest run or" in said.out
    assert [] == cli("workers", "--json").json()


def test_status_counts_the_living(cli: Cli) -> None:
    """``status`` counts the workers alive."""
    assert 0 == cli("status", "--json").json()["workers_alive"]
    member(cli, "one", 3)
    member(cli, "two", 50)
    member(cli, "dead", 70)
    assert "2" == cli("status").pairs()["workers alive"]
    assert 2 == cli("status", "--json").json()["workers_alive"]


def test_a_narrow_terminal_gets_all_of_it(cli: Cli, screen: Callable[..., Screen]) -> None:
    """At 80 columns no worker is cut off, and no line is wider."""
    member(cli, "0123456789abcdef", 3)
    in_flight(cli, "0123456789abcdef")
    program = screen("workers", "--database", cli.url, columns=80)
    assert 0 == program.ended()
    assert 80 >= max(map(len, program.shown.splitlines()))
    shown = " ".join(program.shown.split())
    assert (
        "worker 0123456789abcdef is alive: host alpha, pid 7, command run, since 2026-01" in shown
    )
    assert "in flight 1, leases end 2030-01-01 00:00:00, seen at" in shown
    assert "…" not in shown
