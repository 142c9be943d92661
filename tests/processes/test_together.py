import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.arrivals import HOPS, fullest, metronome, moments
from tests.passage import passage
from tests.plain import session
from tests.processes.programs import (
    Programs,
    add_videos,
    bought_twice,
    execute,
    moment,
    states,
    videos,
    within,
)
from worker.simulator import Simulator

pytestmark = pytest.mark.slow

RATE = 40

LATE = 4
"""Starts that one second may hold more, since a process that a busy machine held up for a tenth of
it begins what it had reserved that much later; in four seconds it evens out.
"""


async def test_three_processes_share_one_queue_and_one_pace(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """Two drains and a daemon on one database send no video twice and share one pace.

    No process logs a wait for the database.
    """
    count = 200
    add_videos(url, count)
    daemon = await worker.start("run", rate=RATE)
    drains = [await worker.start("drain", "--json", rate=RATE) for _ in range(2)]
    async with metronome() as late:
        await within(simulator.wait_for_accepted(count))
    ended = await asyncio.gather(*(drain.ended() for drain in drains))
    await daemon.logged("attempt_ended")
    daemon.signal(signal.SIGTERM)
    ended.append(await daemon.ended())

    assert {"submitted": count} == states(url)
    assert count == len(simulator.requests) == len(simulator.accepted)
    assert [] == bought_twice(simulator.accepted)
    assert 143 == ended[-1].code
    assert set() == {done.code for done in ended[:2]} - {0, 75}
    begun = [len(done.events("attempt_ended")) for done in ended]
    assert count == sum(begun)
    assert 0 < min(begun)
    assert [] == [done.err for done in ended if "locked" in done.err + done.out]

    arrivals, spare = moments(simulator.requests), 1 + int(HOPS * late.worst * RATE)
    assert RATE + LATE + spare >= fullest(arrivals, 1)
    assert 4 * RATE + spare >= fullest(arrivals, 4)


async def test_waiting_for_the_database_is_told_once(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain waits for a database that is locked for over 5 s, and logs that once.

    A command that only reads does not wait.
    """
    add_videos(url, 3)
    with session(url) as other:
        other.lock()
        began = time.monotonic()
        program = await worker.start("drain")
        [line] = await program.logged("database_waited_for")
        assert 5 <= time.monotonic() - began
        assert 0 == (await worker.run("status")).code
        assert [] == simulator.requests
        other.execute("ROLLBACK")
    done = await program.ended()
    assert "claim" in str(line["purpose"])
    assert [line] == done.events("database_waited_for")
    assert (0, []) == (done.code, done.sentences)
    assert {"submitted": 3} == states(url)


async def test_a_daemon_sees_a_row_as_soon_as_it_is_there(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A row with only a URL is sent at once, also if it comes just as the daemon goes idle."""
    daemon = await worker.start("run")
    await daemon.logged("run_started")
    with session(url) as other:
        for number in range(1, 61):
            other.execute("INSERT INTO videos (url) VALUES (?)", f"https://v.example/{number}")
            inserted = time.monotonic()
            await within(simulator.wait_for_requests(number))
            assert 5 > simulator.requests[-1].arrived_at - inserted
            await daemon.logged("attempt_ended", number)
    daemon.signal(signal.SIGTERM)
    assert 143 == (await daemon.ended()).code
    assert [1] * 60 == [row["attempts"] for row in videos(url)]


async def test_a_row_that_becomes_due_wakes_a_daemon(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A daemon wakes when the next row is due, before its longest sleep of 20 s ends."""
    due = time.monotonic() + 1.5
    execute(
        url,
        "INSERT INTO videos (url, due_at) VALUES ('https://v.example/1', ?)",
        moment(1.5),
    )
    daemon = await worker.start("run")
    await within(simulator.wait_for_requests(1))
    assert -0.1 < simulator.requests[0].arrived_at - due < 10
    daemon.signal(signal.SIGTERM)
    assert 143 == (await daemon.ended()).code


async def test_a_daemon_that_starts_before_its_server_waits_for_it(
    worker: Programs, simulator: Simulator, served: str
) -> None:
    """A daemon that starts before its database server waits for it."""
    add_videos(served, 1)
    async with passage(served) as way:
        way.closed = True
        daemon = await worker.start("run", database_url=way.url)
        await daemon.logged("database_trouble")
        way.closed = False
        await simulator.wait_for_accepted(1)
        daemon.signal(signal.SIGTERM)
        assert 143 == (await daemon.ended()).code


async def test_two_imports_of_one_list_at_once_bring_it_once(
    worker: Programs, url: str, tmp_path: Path
) -> None:
    """Two imports of one list at the same time add every video once."""
    links = [f"https://v.example/{number}.mp4" for number in range(4_000)]
    listed = tmp_path / "videos.csv"
    listed.write_text("\n".join(["url", *links]))
    imports = (worker.run("import", str(listed)) for _ in range(2))
    assert [0, 0] == [each.code for each in await asyncio.gather(*imports)]
    assert sorted(links) == sorted(str(row["url"]) for row in videos(url))


async def test_a_refused_daemon_is_told_by_a_drain_beside_it(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain beside a daemon whose key is refused ends with 77, status promises no end and health
    is not well; a person's pause stays 75.
    """
    wrong: dict[str, str | None] = {"VALOSSA_API_KEY": "wrong"}
    add_videos(url, 2)
    daemon = await worker.start("run", "--rate", "40", variables=wrong)
    await daemon.logged("cool_down")
    told = (await worker.run("status", "--json")).told
    assert (None, "--rate of run") == (told["all_handed_in_by"], str(told["pace_from"])[:13])
    assert "40 per 1 s" == told["pace"]
    assert 1 == (await worker.run("health")).code
    drain = await worker.run("drain", "--json", variables=wrong)
    assert (77, "the API refuses the account") == (drain.code, drain.told["end"])
    assert any("the API refuses the key or the account" in line for line in drain.sentences)
    assert 0 == (await worker.run("pause")).code
    assert 75 == (await worker.run("drain", variables=wrong)).code
    daemon.signal(signal.SIGTERM)
    assert 143 == (await daemon.ended()).code
    assert [] == simulator.accepted
