"""Hold that a held host is told wherever a person looks, and that each way out works."""

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli
from worker.simulator import Options
from worker.store.hosts import FREED_AT_ONCE

HOST = "dead.example"
PROBE_AT = f"{datetime.now(UTC) + timedelta(hours=20):%Y-%m-%d %H:%M:%S}"
WHY = "3 of the last 3 jobs of dead.example could not be downloaded (HTTP 503)"
ERROR = f"its host is held: {WHY}"
WAYS_OUT = (
    f"a probe goes at {PROBE_AT} UTC; valossa-ingest release --host dead.example sends all "
    "once it serves again, cancel --state pending --error-like 'jobs of dead.example could not' "
    "puts them away"
)


@pytest.fixture
def held(cli: Cli) -> Cli:
    """Return a queue with two held videos, one of a healthy host that is due later."""
    since = "2026-01-01 00:00:00"
    cli.sql(
        "INSERT INTO hosts (host, held_since, judged_from, probe_at, why) VALUES (?, ?, ?, ?, ?)",
        *(HOST, since, since, PROBE_AT, WHY),
    )
    cli.sql("UPDATE account SET held_hosts = 1")
    later = {"due_at": "2099-01-01 00:00:00"}
    for number in (1, 2):
        url = f"https://{HOST}/{number}.mp4"
        cli.insert(url=url, held_host=HOST, error=ERROR, due_at=PROBE_AT)
    cli.insert(url="https://good.example/3.mp4", **later)
    return cli


def test_a_held_host_is_told_wherever_a_person_looks(held: Cli) -> None:
    """``why``, ``why ID``, ``show``, ``status`` name the evidence, the next probe, the way out."""
    groups = [["2", "pending", WHY, "1", WAYS_OUT]]
    assert groups == held("why").rows()[1:]
    assert [["1", *groups[0][1:3], "2", WAYS_OUT]] == held("why", "id=2").rows()[1:]
    assert [] == held("why", "id=3").rows()[1:]
    assert f"next: 1 held, since {WHY}: {WAYS_OUT}" in held("show", "id=1").out
    assert "next: it is due at" in held("show", "id=3").out
    said = held("status", "--check")
    assert 1 == said.code
    assert f"needs a person: 2 held, since {WHY}; waiting: 3 due later" in said.out
    assert WAYS_OUT in held("status").out
    missing = held("why", "9")
    assert (1, "valossa-ingest: no video has '9' as id") == (missing.code, missing.err[:38])


def test_a_purchase_names_the_hosts_that_are_held(held: Cli) -> None:
    """``drain --dry-run`` names the hosts whose videos it postpones, if any is held."""
    held.insert(url=f"https://{HOST}/4.mp4")
    assert HOST == held("drain", "--dry-run").pairs()["held hosts"]
    held("release", "--host", HOST)
    assert "held hosts" not in held("drain", "--dry-run").pairs()


@pytest.mark.parametrize("named", [HOST, "DEAD.example:443", "https://dead.example/17.mp4?sig=1"])
def test_a_person_releases_a_host(held: Cli, named: str) -> None:
    """``release`` makes the videos of a host due, by its name or by a link to it."""
    assert "released dead.example: 2 videos are due now\n" == held("release", "--host", named).out
    assert [None, None] == held.sql("SELECT held_host FROM videos WHERE id < 3")
    assert [0] == held.sql("SELECT held_hosts FROM account")
    assert "next: it is due\n" in held("show", "id=1").out
    assert [] == held("why").rows()[1:]
    again = held("release", "--host", HOST)
    assert (1, "valossa-ingest: 'dead.example' is not held: no host is held\n") == (
        again.code,
        again.err,
    )


def test_a_release_goes_on_until_none_is_left(held: Cli) -> None:
    """Many videos are freed some at a time; a release that was broken off is run again."""
    many = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FREED_AT_ONCE})"
    )
    held.sql(
        f"INSERT INTO videos (url, held_host) {many} SELECT 'https://{HOST}/' || i, ? FROM n", HOST
    )
    number = FREED_AT_ONCE + 2
    assert {"released": HOST, "due": number} == held("release", "--host", HOST, "--json").json()
    held.sql("UPDATE videos SET held_host = ? WHERE id = 1", HOST)
    assert {"released": HOST, "due": 1} == held("release", "--host", HOST, "--json").json()


def test_a_release_is_told_to_programs(held: Cli) -> None:
    """``release --json`` says what it released; another name is told which hosts are held."""
    said = held("release", "--host", "other.example", "--json")
    assert (1, "valossa-ingest: 'other.example' is not held: held are dead.example\n") == (
        said.code,
        said.err,
    )
    assert {"released": HOST, "due": 2} == held("release", "--host", HOST, "--json").json()


def test_the_other_way_out_puts_the_held_videos_away(held: Cli) -> None:
    """The ``cancel`` that is printed cancels the held videos of this host alone: not those of a
    host whose name ends in it, and no failed one.
    """
    longer = f"media-{HOST}"
    held.insert(url=f"https://{longer}/4.mp4", held_host=longer, error=ERROR.replace(HOST, longer))
    held.insert(url=f"https://{HOST}/5.mp4", state="failed", error=ERROR)
    printed = held("why", "id=1").rows()[1][-1]
    typed = printed.partition(", ")[2].removesuffix(" puts them away")
    assert 0 == held(*shlex.split(typed)).code
    states = ["cancelled", "cancelled", "pending", "pending", "failed"]
    assert states == held.sql("SELECT state FROM videos ORDER BY id")
    assert [None, None, None, longer, None] == held.sql("SELECT held_host FROM videos ORDER BY id")
    assert "needs a person" not in held("status").out


def test_a_new_link_by_import_leaves_the_brake(held: Cli, listed: Callable[..., Path]) -> None:
    """A held video that import --update gives a link of another host is due at once."""
    held.sql("UPDATE videos SET media_id = 'm' WHERE id = 1")
    file = listed("media_id,url", "m,https://good.example/1.mp4")
    assert 0 == held("import", "--update", file).code
    row = held.row(1)
    assert (None, None) == (row["held_host"], row["error"])
    assert "next: it is due\n" in held("show", "id=1").out


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_a_drain_that_leaves_held_videos_ends_and_says_so(
    held: Cli, beside: Callable[[Options], Beside], wait: tuple[str, ...]
) -> None:
    """A drain, also with --wait, does not wait for held videos: it ends, says so, and exits 1."""
    held.sql("UPDATE videos SET due_at = '2026-01-01 00:00:00' WHERE id <> 1")
    with beside(Options()) as simulator:
        said = held("drain", *wait, VALOSSA_API_KEY="demo-key", WORKER_API_URL=simulator.url)
    assert 1 == said.code
    assert f"valossa-ingest: 2 held, since {WHY}\nvalossa-ingest: {WAYS_OUT}\n" in said.err
    assert ["pending", "pending", "submitted"] == held.sql("SELECT state FROM videos ORDER BY id")
    assert [HOST, HOST, None] == held.sql("SELECT held_host FROM videos ORDER BY id")


def test_a_cap_of_jobs_ends_a_drain_as_a_cap_does(
    cli: Cli, beside: Callable[[Options], Beside]
) -> None:
    """With as many jobs in progress as max_in_progress allows, a drain ends as at a cap."""
    for _ in range(3):
        cli.insert()
    with beside(Options()) as simulator:
        environment = {"VALOSSA_API_KEY": "demo-key", "WORKER_API_URL": simulator.url}
        said = cli("drain", WORKER_MAX_IN_PROGRESS="2", **environment)
    assert 75 == said.code
    assert "max_in_progress = 2 is reached: it goes on as jobs end" in said.err
    assert [1] == cli.sql("SELECT count(*) FROM videos WHERE state = 'pending'")
