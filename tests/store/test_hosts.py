import shlex
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from tests.conftest import START
from tests.parts import add, later, row
from tests.plain import Plain
from worker.core.host import FIRST_WAIT, HeldHost
from worker.db.database import Database
from worker.db.schema import account, hosts, jobs
from worker.store import hosts as brake
from worker.store.queue import Unwritable

HOST = "dead.example"


def end(
    connection: Connection,
    job: str,
    at: datetime,
    host: str = HOST,
    accepted_at: datetime = START,
    **columns: object,
) -> None:
    """Write a job's end as a follower does, and have its host judged."""
    told = {"ended_as": "error", "transfer_status": "error", **columns}
    of = {"job_id": job, "video_id": 1_000, "attempt": 1, "accepted_at": accepted_at, "host": host}
    values = {**of, "ended_at": at, "next_poll_at": accepted_at, **told}
    connection.execute(insert(jobs).values(values))
    brake.judge(connection, host, at)


async def ends(database: Database, *kinds: str, at: datetime = START, host: str = HOST) -> None:
    """End jobs of a host one second after the other: well, badly, in another way."""
    columns: dict[str, dict[str, Any]] = {
        "well": {"ended_as": "finished", "transfer_status": "finished"},
        "badly": {"details": "connection refused"},
        "analysis": {"transfer_status": "finished"},
        "unknown": {"transfer_status": None},
        "gone": {"ended_as": "gone", "transfer_status": None},
        "of an upgrade": {"next_poll_at": None},
    }

    def write(connection: Connection) -> None:
        for place, kind in enumerate(kinds):
            moment = later(at, place)
            end(connection, f"{host}-{moment}", moment, host, **columns[kind])

    await database.write(write, "test")


async def held(database: Database) -> list[HeldHost]:
    """Return the held hosts."""
    found = await database.read(lambda c: [*brake.held(c)])
    number = await database.read(lambda c: c.scalar(select(account.c.held_hosts)))
    assert number == len(found)
    return found


@pytest.mark.parametrize(
    ("kinds", "is_held"),
    [
        (("badly", "badly"), False),
        (("badly", "badly", "badly"), True),
        (("well", "badly", "badly", "badly"), True),
        (("badly", "badly", "well", "badly"), True),
        (("badly", "badly", "well", "well", "badly"), False),
        (("badly", "badly", "gone", "gone", "gone", "badly"), True),
        (("badly", "badly", "unknown", "analysis", "badly"), False),
        (("of an upgrade",) * 5, False),
        (("badly", "badly", *["of an upgrade"] * 3, "badly"), True),
        (("analysis",) * 5, False),
        (("unknown",) * 5, False),
    ],
)
async def test_three_of_the_last_four_ended_jobs_hold_a_host(
    database: Database, kinds: tuple[str, ...], *, is_held: bool
) -> None:
    """Three failed downloads among the last four jobs that tell of one hold their host alone."""
    await ends(database, *kinds)
    await ends(database, "badly", host="other.example")
    assert ([HOST] if is_held else []) == [each.host for each in await held(database)]


async def test_jobs_that_ended_at_once_are_judged_by_their_acceptance(database: Database) -> None:
    """Of jobs whose ends one list has shown, those that were accepted last are the last four."""

    def write(connection: Connection) -> None:
        fine = {"ended_as": "finished", "transfer_status": "finished"}
        for place in range(9):
            bad = place in {2, 4, 8}
            accepted_at = later(START, -place)
            end(connection, f"j{place}", START, HOST, accepted_at, **({} if bad else fine))

    await database.write(write, "test")
    assert [] == await held(database)


async def test_a_held_host_is_told_with_its_evidence(database: Database) -> None:
    """A held host has its reason, its videos, its failed jobs and its next probe."""
    await ends(database, "badly", "badly", "badly", "badly")
    await add(database, "https://dead.example/1", "https://dead.example/2", held_host=HOST)
    since = later(START, 2)
    why = "4 of the last 4 jobs of dead.example could not be downloaded (connection refused)"
    found = await held(database)
    assert [
        HeldHost(
            host=HOST,
            since=since,
            why=why,
            videos=2,
            first=1,
            failed=4,
            probe_at=since + FIRST_WAIT,
            probes=0,
            probe_video=None,
        )
    ] == found
    *_, named, _, _, _ = shlex.split(found[0].remedy)
    assert named in why, "its cancel matches the errors of its videos"
    assert named not in why.replace(HOST, f"media-{HOST}"), "and those of no longer name"
    await database.write(lambda c: c.execute(update(hosts).values(probe_at=None)), "test")
    assert [since] == [each.probe_at for each in await held(database)]


async def test_the_evidence_is_that_of_the_last_jobs(database: Database) -> None:
    """While a host is held, each end that speaks against it renews the evidence, and nothing else;
    one that speaks for it leaves the evidence of the hold.
    """
    await ends(database, "badly", "badly", "badly")
    (before,) = await held(database)
    assert before.why.startswith("3 of the last 3 jobs")
    await ends(database, "well", at=later(START, 60))
    (after,) = await held(database)
    assert after.why.startswith("3 of the last 4 jobs")
    await ends(database, "well", at=later(START, 70))
    assert [after] == await held(database)
    assert (before.since, before.probe_at) == (after.since, after.probe_at)


async def test_no_host_is_no_host(database: Database) -> None:
    """A job whose link names no host holds nothing."""
    await ends(database, *["badly"] * 5, host="")
    assert [] == await held(database)


async def test_a_release_makes_the_videos_due_and_forgets_the_evidence(database: Database) -> None:
    """After a release the videos are due, and it takes three new failures to hold the host."""
    await ends(database, "badly", "badly", "badly")
    tomorrow = START + timedelta(days=1)
    await add(database, "https://dead.example/1", held_host=HOST, due_at=tomorrow, error="held")
    await add(database, "https://x.example/1", held_host="x.example", due_at=tomorrow)
    at = later(START, 60)
    assert 1 == await database.write(lambda c: brake.release(c, HOST, at), "test")
    freed, other = await row(database, 1), await row(database, 2)
    assert (None, at, None) == (freed["held_host"], freed["due_at"], freed["error"])
    assert ("x.example", tomorrow) == (other["held_host"], other["due_at"])
    assert [] == await held(database)

    await ends(database, "badly", "badly", at=later(at, 1))
    assert [] == await held(database)
    await ends(database, "badly", at=later(at, 3))
    assert [HOST] == [each.host for each in await held(database)]


async def test_a_release_leaves_a_video_that_was_put_off_until_it_is_due(
    database: Database,
) -> None:
    """A video that a person has put off, farther than any hold goes, is held no more, and not due
    before its time; one that a clock ahead has held so far is due now.
    """
    at, far = later(START, 60), START + timedelta(days=24)
    await ends(database, "badly", "badly", "badly")
    await ends(database, *["badly"] * 3, at=later(START, 9e5), host="ahead.example")
    for host in (HOST, "ahead.example"):
        await add(database, f"https://{host}/1", held_host=host, due_at=far, error="held")

    assert 0 == await database.write(lambda c: brake.release(c, HOST, at), "test")
    assert 1 == await database.write(lambda c: brake.release(c, "ahead.example", at), "test")

    freed = [await row(database, number) for number in (1, 2)]
    assert [(None, far, None), (None, at, None)] == [
        (each["held_host"], each["due_at"], each["error"]) for each in freed
    ]


@pytest.mark.parametrize(("others", "wait"), [(1, -FIRST_WAIT), (0, FIRST_WAIT)])
async def test_a_video_that_was_put_off_is_no_probe(
    database: Database, others: int, wait: timedelta
) -> None:
    """A probe is a video that the hold alone has postponed; where none is, the probe waits."""
    await ends(database, "badly", "badly", "badly")
    now = later(START, 99_999)
    due = update(hosts).values(probe_at=now - FIRST_WAIT)
    await database.write(lambda c: c.execute(due), "test")
    await add(database, f"https://{HOST}/1", held_host=HOST, due_at=now + timedelta(days=24))
    if others:
        await add(database, f"https://{HOST}/2", held_host=HOST, due_at=later(now, 99))
    aside = Unwritable()
    _, probes, _ = await database.write(lambda c: brake.passing(c, 9, now, now, aside, 500), "test")
    assert {1: {2}, 0: set[int]()}[others] == {*probes}
    assert now + wait == await database.read(lambda c: brake.next_probe_at(c, now))


async def test_a_release_frees_some_at_a_time(database: Database) -> None:
    """A release frees a bounded number; the hold ends first, so what is left is freed later."""
    await ends(database, "badly", "badly", "badly")
    tomorrow, number = START + timedelta(days=1), brake.FREED_AT_ONCE + 1
    await add(database, *["https://dead.example/1"] * number, held_host=HOST, due_at=tomorrow)
    freed = [
        await database.write(lambda c: brake.release(c, HOST, later(START, 60)), "test")
        for _ in range(3)
    ]
    assert [number - 1, 1, None] == freed
    assert [] == await held(database)


@pytest.mark.parametrize(("kind", "left"), [("well", None), ("badly", HOST)])
async def test_what_a_release_has_left_is_freed_by_the_next_end(
    database: Database, kind: str, left: str | None
) -> None:
    """An end of a job of a host that was released frees more of its videos, unless it holds it."""
    await ends(database, "badly", "badly", "badly")
    await database.write(lambda c: brake.release(c, HOST, later(START, 60)), "test")
    await ends(database, "badly", "badly", at=later(START, 61))
    await add(database, "https://dead.example/1", held_host=HOST)
    await ends(database, kind, at=later(START, 70))
    assert left == (await row(database, 1))["held_host"]


async def test_a_release_forgets_the_evidence_of_a_clock_that_was_ahead(
    database: Database,
) -> None:
    """Ends that lie ahead, since a clock was set back, hold a released host no more."""
    await ends(database, "badly", "badly", "badly", at=later(START, 9e5))
    await database.write(lambda c: brake.release(c, HOST, START), "test")
    await ends(database, "well", at=later(START, 60))
    assert [] == await held(database)


async def test_a_hold_that_a_clock_ahead_has_written_is_probed_and_ends(
    database: Database,
) -> None:
    """A probe that is planned farther ahead than any schedule goes is due, and ends the hold."""
    await ends(database, "badly", "badly", "badly", at=later(START, 9e5))
    await add(database, f"https://{HOST}/1", held_host=HOST, due_at=later(START, 9e5))

    assert START == await database.read(lambda c: brake.next_probe_at(c, START))
    aside = Unwritable()
    passing = await database.write(lambda c: brake.passing(c, 9, START, START, aside, 500), "test")
    assert {1} == {*passing[1]}
    await ends(database, "badly", at=later(START, 60))
    second = later(START, 120) + FIRST_WAIT
    well = {"ended_as": "finished", "transfer_status": "finished"}
    await database.write(
        lambda c: end(c, "p", later(second, 9), accepted_at=second, **well), "test"
    )
    assert [] == await held(database)


@pytest.mark.parametrize("bad", ["infinity", "-infinity"])
async def test_a_probe_at_no_moment_is_due(database: Database, plain: Plain, bad: str) -> None:
    """A host whose next probe plain SQL made unreadable is probed now."""
    await ends(database, "badly", "badly", "badly")
    await add(database, f"https://{HOST}/1", held_host=HOST, due_at=later(START, 60))
    plain.execute("UPDATE hosts SET probe_at = ?", bad)
    at = await database.read(lambda c: brake.next_probe_at(c, START))
    assert at is not None
    assert at <= START
    aside = Unwritable()
    passing = await database.write(lambda c: brake.passing(c, 9, START, START, aside, 500), "test")
    assert {1} == {*passing[1]}


async def test_what_is_not_held_is_not_released(database: Database) -> None:
    """A host that is not held, or not known, is not released."""
    await ends(database, "badly")
    assert await database.write(lambda c: brake.release(c, HOST, START), "test") is None


@pytest.mark.parametrize(
    ("accepted", "told", "is_held"),
    [
        (FIRST_WAIT, {"ended_as": "finished", "transfer_status": "finished"}, False),
        (FIRST_WAIT, {"ended_as": "finished", "transfer_status": None}, False),
        (FIRST_WAIT, {"ended_as": "error", "transfer_status": "finished"}, False),
        (FIRST_WAIT, {"ended_as": "error", "transfer_status": "error"}, True),
        (FIRST_WAIT, {"ended_as": "error", "transfer_status": None}, True),
        (FIRST_WAIT, {"ended_as": "gone", "transfer_status": None}, True),
        (timedelta(0), {"ended_as": "finished", "transfer_status": "finished"}, True),
    ],
)
async def test_a_probe_that_ended_well_releases(
    database: Database, accepted: timedelta, told: dict[str, Any], *, is_held: bool
) -> None:
    """A probe that was downloaded ends the hold; one bought before the hold does not."""
    await ends(database, "badly", "badly", "badly")
    accepted_at = later(START, 2) + accepted
    at = accepted_at + timedelta(minutes=1)
    await database.write(lambda c: end(c, "probe", at, accepted_at=accepted_at, **told), "test")
    assert is_held is bool(await held(database))


@pytest.mark.parametrize(("known", "wait"), [({1, 2}, FIRST_WAIT * 4), ({2}, -FIRST_WAIT)])
async def test_law_14_a_host_whose_videos_are_all_set_aside_has_no_probe_now(
    database: Database, known: set[int], wait: timedelta
) -> None:
    """Law 14: where no video of a host can be written, its probe waits as after the last one. A
    video that can be written is the probe.
    """
    await ends(database, "badly", "badly", "badly")
    now = later(START, 99_999)
    due = update(hosts).values(probe_at=now - FIRST_WAIT, probes=2)
    await database.write(lambda c: c.execute(due), "test")
    urls = [f"https://{HOST}/{n}" for n in (1, 2)]
    await add(database, *urls, held_host=HOST, due_at=later(now, 99))
    aside = Unwritable(known=known)
    _, probes, _ = await database.write(lambda c: brake.passing(c, 9, now, now, aside, 500), "test")
    assert {1, 2} - known == {*probes}
    assert now + wait == await database.read(lambda c: brake.next_probe_at(c, now))


async def test_the_number_of_held_hosts_is_counted_anew(database: Database) -> None:
    """The shared row has the number of held hosts after each change, whatever stood there."""
    await database.write(lambda c: c.execute(update(account).values(held_hosts=7)), "test")
    await ends(database, "badly", "badly", "badly")
    await ends(database, "badly", "badly", "badly", host="b.example")
    assert [HOST, "b.example"] == sorted(each.host for each in await held(database))[::-1]
    await database.write(lambda c: brake.release(c, HOST, later(START, 9)), "test")
    assert ["b.example"] == [each.host for each in await held(database)]
    known = await database.read(lambda c: c.execute(select(hosts.c.host, hosts.c.probe_at)).all())
    assert {HOST: None} == {host: at for host, at in known if at is None}
