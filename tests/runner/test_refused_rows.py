"""Law 14 where a trigger or a CHECK of another program refuses one row: that row alone fails."""

import asyncio
from dataclasses import replace

import pytest

from tests.conftest import START
from tests.parts import SETTINGS, Worker, add, later, listener, row, take
from tests.plain import is_server
from tests.store.test_hosts import ends
from worker import wiring
from worker.core.reasons import StopReason
from worker.core.run_state import Counts
from worker.db.database import Database
from worker.settings import Key
from worker.simulator import Options, Simulator

SAID = "not this one"

ON_FILE = """
CREATE TRIGGER theirs {when} UPDATE ON videos WHEN NEW.id = 3 AND {condition}
BEGIN SELECT RAISE({how}); END
"""
FUNCTION = """
CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {how}; END $$
"""
ON_SERVER = """
CREATE {constraint} TRIGGER theirs {when} UPDATE ON videos {deferred} FOR EACH ROW
WHEN (NEW.id = 3 AND {condition}) EXECUTE FUNCTION theirs()
"""

SQLITE = [
    ("BEFORE", f"ABORT, '{SAID}'"),
    ("AFTER", f"ABORT, '{SAID}'"),
    ("BEFORE", f"FAIL, '{SAID}'"),
    ("AFTER", f"ROLLBACK, '{SAID}'"),
    ("BEFORE", "IGNORE"),
]
POSTGRESQL = [
    ("BEFORE", f"RAISE EXCEPTION '{SAID}'"),
    ("AFTER", f"RAISE check_violation USING MESSAGE = '{SAID}'"),
    ("BEFORE", "RETURN NULL"),
]


def links(count: int) -> list[str]:
    """Return that many addresses."""
    return [f"https://videos.example/{number}.mp4" for number in range(1, count + 1)]


async def refuse(database: Database, way: int, condition: str) -> bool:
    """Add a trigger that refuses row 3 where ``condition`` holds; return True if it says why."""
    server = is_server(str(database.address)) or database.runs_in_thread is False
    when, how = (POSTGRESQL if server else SQLITE)[way]
    given = {"when": when, "how": how, "condition": condition, "constraint": "", "deferred": ""}
    made = [FUNCTION, ON_SERVER] if server else [ON_FILE]
    for statement in made:
        sql = statement.format(**given)
        await database.write(lambda c, sql=sql: c.exec_driver_sql(sql), "test")  # type: ignore[misc]
    return SAID in how


@pytest.fixture(params=range(5))
def way(request: pytest.FixtureRequest, dialect: str) -> int:
    """Return the place of a way to refuse a row."""
    place: int = request.param
    return place % len(POSTGRESQL if dialect == "postgresql" else SQLITE)


async def drained(database: Database) -> tuple[Counts, list[str], Simulator]:
    """Drain, and return the counts, what the log said of row 3, and the imitation with its book."""
    log, said = listener()
    async with Simulator(Options()) as simulator:
        report = await asyncio.wait_for(Worker(log=log).run(database, simulator.url), 30)
        assert StopReason.EMPTY is report.stop.reason
    messages = [
        str(each["message"])
        for each in said
        if each["event"] == "video_refused" and each["video"] == 3
    ]
    return report.counts, messages, simulator


@pytest.mark.usefixtures("remade")
async def test_law_14_a_refused_claim_fails_its_row_alone(database: Database, way: int) -> None:
    """Law 14: a row whose claim is refused fails with the reason; all others are sent."""
    await add(database, *links(6))
    told = await refuse(database, way, "NEW.state = 'submitting'")
    counts, messages, simulator = await drained(database)
    assert Counts(submitted=5, failed=1) == counts
    assert 5 == len(simulator.requests)
    refused = await row(database, 3)
    assert "failed" == refused["state"]
    (message,) = messages
    assert message == refused["error"]
    assert message.startswith("the database refuses to write this row: ")
    assert (SAID if told else "a trigger passes it over") in message


@pytest.mark.usefixtures("remade")
async def test_law_14_a_row_that_takes_no_change_is_left_alone(
    database: Database, way: int
) -> None:
    """Law 14: a row that can be changed in no way stays as it is; the run says so and goes on."""
    await add(database, *links(6))
    await refuse(database, way, "NEW.url <> ''")
    counts, messages, simulator = await drained(database)
    assert Counts(submitted=5, failed=1) == counts
    assert 5 == len(simulator.requests)
    assert ("pending", 0) == ((await row(database, 3))["state"], (await row(database, 3))["claims"])
    assert 1 == len(messages)


@pytest.mark.usefixtures("remade")
async def test_law_14_a_refused_name_fails_its_row_alone(database: Database, way: int) -> None:
    """Law 14: a row whose media id is refused as its identifier fails; all others are sent."""
    await add(database, *links(2))
    await add(database, links(3)[2], media_id="theirs")
    await refuse(database, way, "NEW.request_id = 'theirs'")
    counts, messages, simulator = await drained(database)
    assert Counts(submitted=2, failed=1) == counts
    assert (2, 1) == (len(simulator.requests), len(messages))


@pytest.mark.usefixtures("remade")
async def test_law_14_a_refused_purchase_is_a_doubt_that_names_its_job(
    database: Database, way: int
) -> None:
    """Law 14: a row that cannot be made submitted is in doubt with its job; the others go on."""
    await add(database, *links(6))
    await refuse(database, way, "NEW.state = 'submitted'")
    counts, _, simulator = await drained(database)
    assert Counts(submitted=5, in_doubt=1) == counts
    doubt = await row(database, 3)
    (job,) = [each.job_id for each in simulator.accepted if "3.mp4" in str(each)]
    assert ("in_doubt", None) == (doubt["state"], doubt["job_id"])
    assert f"it made job {job}" in str(doubt["error"])


@pytest.mark.usefixtures("remade")
async def test_law_14_a_lease_that_cannot_end_holds_nobody_up(database: Database, way: int) -> None:
    """Law 14: a row whose expiry is refused stays in flight; other leases end, other videos go."""
    await add(database, *links(4), due_at=START)
    await take(database, START, limit=4)
    await add(database, *links(6)[4:])
    await refuse(database, way, "NEW.state = 'in_doubt'")
    counts, messages, _ = await drained(database)
    assert Counts(submitted=2, failed=1, in_doubt=3) == counts
    assert ["in_doubt"] * 2 + ["submitting", "in_doubt"] == [
        (await row(database, number))["state"] for number in range(1, 5)
    ]
    assert 1 == len(messages)


@pytest.mark.usefixtures("remade")
async def test_law_14_a_row_that_is_never_settled_holds_nobody_up(
    database: Database, way: int
) -> None:
    """Law 14: a row that cannot leave its claim waits for the end of its lease; the others go."""
    await add(database, *links(6))
    await refuse(database, way, "NEW.state <> 'submitting'")
    log, said = listener()
    async with Simulator(Options()) as simulator:
        report = await asyncio.wait_for(Worker(log=log).run(database, simulator.url), 30)
        again = await asyncio.wait_for(Worker(log=log).run(database, simulator.url), 30)
        assert 6 == len(simulator.requests)
    assert Counts(submitted=5, failed=1) == report.counts
    assert Counts() == again.counts
    assert "submitting" == (await row(database, 3))["state"]
    assert [3] == [each["video"] for each in said if each["event"] == "video_refused"]


@pytest.mark.usefixtures("remade")
async def test_law_14_a_lease_that_cannot_be_ended_hides_no_other_doubt(
    database: Database, url: str, way: int
) -> None:
    """Law 14: of the leases that a person's reconciliation ends, the refused one is left alone."""
    begun = later(database.now(), -900)
    await add(database, *links(4), due_at=begun)
    await take(database, begun, 4)
    await refuse(database, way, "NEW.state = 'in_doubt'")
    settings = replace(SETTINGS, database_url=url)
    async with wiring.reconciler(settings, Key("k", "a test"), database, "person") as reconciler:
        await reconciler.expire()
    found = [(await row(database, number))["state"] for number in range(1, 5)]
    assert ["in_doubt", "in_doubt", "submitting", "in_doubt"] == found


@pytest.mark.usefixtures("remade")
async def test_a_file_that_cannot_be_respelled_stops_no_other(database: Database, way: int) -> None:
    """Law 14: a video whose address is refused in its plain spelling fails alone; others wait."""
    await add(database, *(f"file:/media/{number}.mp4" for number in range(1, 6)))
    says = await refuse(database, way, "NEW.url LIKE 'file:///%'")
    await add(database, *links(2))
    counts, messages, simulator = await drained(database)
    assert Counts(submitted=2, failed=1) == counts
    assert 2 == len(simulator.requests)
    found = [await row(database, number) for number in range(1, 6)]
    assert ["pending", "pending", "failed", "pending", "pending"] == [e["state"] for e in found]
    assert [f"file:///media/{n}.mp4" for n in (1, 2, 4, 5)] == [
        each["url"] for each in found if each["state"] == "pending"
    ]
    assert (SAID in messages[0]) == says


@pytest.mark.usefixtures("remade")
async def test_a_row_that_cannot_be_held_stops_no_other(database: Database, way: int) -> None:
    """Law 14: a video that takes no mark of a held host fails alone; the others are held, or go."""
    await ends(database, "badly", "badly", "badly", host="dead.example", at=database.now())
    says = await refuse(database, way, "NEW.held_host IS NOT NULL")
    await add(database, *(f"https://dead.example/{number}.mp4" for number in range(1, 6)))
    await add(database, *links(2))
    counts, messages, simulator = await drained(database)
    assert Counts(submitted=2, failed=1) == counts
    assert 2 == len(simulator.requests)
    found = [await row(database, number) for number in range(1, 6)]
    marks = [(each["state"], each["held_host"]) for each in found]
    held = ("pending", "dead.example")
    assert [held, held, ("failed", None), held, held] == marks
    assert (SAID in messages[0]) == says
