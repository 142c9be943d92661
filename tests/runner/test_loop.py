"""A run from the table to the API and back: a real database and client, the simulator as judge."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from tests.arrivals import Log, metronome, moments
from tests.conftest import Hands, open_database
from tests.parts import (
    DAEMON,
    DRAIN,
    DRAIN_ALL,
    RUN_SETTINGS,
    RealTime,
    Worker,
    add,
    facts,
    going,
    let_start,
    listener,
    row,
    states,
    take,
    until,
)
from tests.plain import Plain, execute, session
from tests.wire import LOOPBACK, Line, Script, Wire, answer, free_port, full_backlog, job
from worker.clock import Clock
from worker.core.breaker import CROWD
from worker.core.model import Cap
from worker.core.reasons import Stop, StopReason
from worker.core.run_state import Counts
from worker.core.stop_conditions import RunOptions
from worker.db.column_types import as_text
from worker.db.database import Database, rewrite
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.simulator import Limit, Options, Simulator
from worker.store import relocation, shared_state

MUCH_LATER = replace(RUN_SETTINGS, backoff_base_seconds=7_200.0, backoff_max_seconds=7_200.0)
"""A backoff of an hour, with dice that show a half."""


def urls(count: int) -> list[str]:
    """Return the links of that many videos."""
    return [f"https://videos.example/{number}.mp4" for number in range(1, count + 1)]


async def say(plain: Plain, statement: str) -> None:
    """Run a statement as another program."""
    await asyncio.to_thread(plain.execute, statement)


async def agree(database: Database, simulator: Simulator) -> None:
    """Hold that the simulator's jobs are those in the table, and that no video has two."""
    bought = Counter((each.request_id, each.job_id) for each in simulator.accepted)
    known = await database.read(
        lambda c: c.exec_driver_sql(
            "SELECT request_id, job_id FROM videos WHERE state = 'submitted'"
        ).all()
    )
    assert Counter((request_id, job_id) for request_id, job_id in known) == bought
    assert {1} >= set(Counter(each.request_id for each in simulator.accepted).values())


def state_of(plain: Plain, video_id: int) -> object:
    """Return the state of one video on disk."""
    return plain.execute(f"SELECT state FROM videos WHERE id = {video_id}")[0][0]


async def at_once() -> None:
    """Do nothing."""


def by_url(answers: Mapping[str, bytes], before: Callable[[], Awaitable[None]] = at_once) -> Script:
    """Script a server that gives these videos these answers, and accepts all others."""

    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            url = json.loads(request.partition(b"\r\n\r\n")[2])["media"]["video"]["url"]
            await before()
            line.say(answers.get(url) or answer(job(str(uuid4()))))

    return script


def events(said: Sequence[Mapping[str, object]]) -> list[object]:
    """Return the names of the logged events."""
    return [each["event"] for each in said]


# --- All is well ----------------------------------------------------------------------------------


async def test_a_drain_buys_everything_once(database: Database, simulator: Simulator) -> None:
    """A drain submits every due video exactly once."""
    await add(database, *urls(60))
    report = await Worker().run(database, simulator.url)
    assert RunReport(stop=Stop(reason=StopReason.EMPTY), counts=Counts(submitted=60)) == report
    assert {"submitted": 60} == await states(database)
    assert 60 == len(simulator.requests)
    await agree(database, simulator)


async def test_nothing_to_do_is_no_trouble(database: Database, simulator: Simulator) -> None:
    """A drain of an empty table ends at once and does nothing."""
    report = await Worker().run(database, simulator.url)
    assert RunReport(stop=Stop(reason=StopReason.EMPTY), counts=Counts()) == report
    assert [] == simulator.requests


async def test_two_processes_share_one_database(url: str, simulator: Simulator) -> None:
    """Two processes on one database submit each video once."""
    simulator.options = Options(latency_seconds=0.005)
    async with open_database(url) as first, open_database(url) as second:
        await add(first, *urls(200))
        reports = await asyncio.gather(
            *(
                Worker(name=name).run(database, simulator.url)
                for name, database in (("a", first), ("b", second))
            )
        )
        assert 200 == sum(report.counts.submitted for report in reports)
        assert all(report.counts.submitted for report in reports)
        assert {"submitted": 200} == await states(first)
        await agree(first, simulator)


async def test_higher_priorities_go_first(database: Database, simulator: Simulator) -> None:
    """Requests go by priority, then due_at, then id."""
    for url, priority in zip(urls(3), (0, 5, 1), strict=True):
        await add(database, url, priority=priority)
    await Worker(slots=1).run(database, simulator.url)
    first, second, third = urls(3)
    assert [second, third, first] == [each.url for each in simulator.requests]


async def test_rows_are_sent_with_their_own_name_and_the_defaults(
    database: Database, simulator: Simulator
) -> None:
    """The body is made of the row, its request_id and the settings' defaults."""
    await add(database, "https://videos.example/1.mp4", media_id="m-1")
    await add(database, "https://videos.example/2.mp4", language="fi-FI")
    settings = replace(RUN_SETTINGS, default_language="de-DE")
    await Worker(slots=1, settings=settings).run(database, simulator.url)
    named, unnamed = [each.body for each in simulator.requests]
    assert {
        "media": {
            "video": {"url": "https://videos.example/1.mp4"},
            "customer_media_info": {"id": "m-1"},
            "language": "de-DE",
        }
    } == named
    assert {
        "media": {
            "video": {"url": "https://videos.example/2.mp4"},
            "customer_media_info": {"id": (await row(database, 2))["request_id"]},
            "language": "fi-FI",
        }
    } == unnamed


# --- Every outcome, from end to end ---------------------------------------------------------------

ENDS: dict[str, tuple[str, int, int | None, bool, str | None]] = {
    "close-idle": ("submitted", 1, 200, False, None),
    "cut": ("submitted", 1, 200, False, None),
    "no-id": ("in_doubt", 1, 200, False, "success without a job id: HTTP 200: {}"),
    "not-json": ("in_doubt", 1, 200, False, "success without a job id: HTTP 200: accepted"),
    "400": ("failed", 1, 400, False, "HTTP 400: Bad Request"),
    "422": ("failed", 1, 422, False, f"HTTP 422: {HTTPStatus(422).phrase}"),
    "401": ("pending", 0, 401, True, "HTTP 401: Unauthorized"),
    "404": ("pending", 0, 404, True, "HTTP 404: Not Found"),
    "redirect": ("pending", 0, 307, True, "HTTP 307, empty body"),
    "408": ("in_doubt", 1, 408, False, "HTTP 408: Request Timeout"),
    "429": ("pending", 0, 429, True, "HTTP 429: Too Many Requests"),
    "500": ("pending", 1, 500, True, "HTTP 500: Internal Server Error"),
    "retry-after-503": ("pending", 1, 503, True, "HTTP 503: Service Unavailable"),
    "502": ("in_doubt", 1, 502, False, "HTTP 502: Bad Gateway"),
    "garbage": ("in_doubt", 1, None, False, "sent, but no answer was read: HttpProcessingError"),
    "lost": ("in_doubt", 1, None, False, "sent, but no answer was read: ClientOSError"),
    "stall": ("in_doubt", 1, None, False, "sent, but no answer was read: TimeoutError"),
}
"""Kind of trouble: state, attempts, http_status, moved behind the others, error."""


@pytest.mark.parametrize(("kind", "end"), ENDS.items())
async def test_an_outcome_ends_in_its_row(
    database: Database, kind: str, end: tuple[str, int, int | None, bool, str | None]
) -> None:
    """After one POST the row has the state, attempts, status, due_at and error of its outcome."""
    await add(database, *urls(1))
    due_at = (await row(database, 1))["due_at"]
    worker = Worker(
        options=replace(DRAIN, limit=1),
        settings=MUCH_LATER,
        timeout_seconds=2 if kind == "stall" else 20,  # only a stall is waited for
    )
    async with Simulator(Options(script={1: kind})) as simulator:
        report = await worker.run(database, simulator.url)
        video = await row(database, 1)
        state, attempts, status, moved, error = end
        named = {401: StopReason.ACCOUNT, 404: StopReason.ADDRESS, 307: StopReason.ADDRESS}
        assert named.get(status or 0, StopReason.LIMIT) == report.stop.reason
        assert (state, attempts, status) == (
            video["state"],
            video["attempts"],
            video["http_status"],
        )
        assert (error or "").strip() == str(video["error"] or "")[: len(error or "")]
        assert bool(error) == bool(video["error"])
        hour = timedelta(hours=1)
        assert moved == (video["due_at"] > datetime.now(UTC) + hour * 0.9)  # type: ignore[operator]
        assert moved or due_at == video["due_at"]
        assert (1, None) == (video["claims"], video["claim_token"])
        assert [1] == [attempt for attempt, _ in await facts(database, 1)]
        assert 1 == len(simulator.requests)
        bought = [each.job_id for each in simulator.accepted]
        assert [video["job_id"]] == bought if state == "submitted" else video["job_id"] is None
        assert {
            "submitted": Counts(submitted=1),
            "in_doubt": Counts(in_doubt=1),
            "failed": Counts(failed=1),
            "pending": Counts(postponed=1),
        }[state] == report.counts


async def test_what_never_left_costs_no_attempt(database: Database) -> None:
    """Law 7: an unreachable API uses up no attempt and makes no doubt."""
    await add(database, *urls(3))
    worker = Worker(settings=MUCH_LATER)
    with free_port() as port:
        report = await worker.run(database, f"http://{LOOPBACK}:{port}")
    assert (StopReason.EMPTY, Counts(postponed=3)) == (report.stop.reason, report.counts)
    for number in (1, 2, 3):
        video = await row(database, number)
        assert ("pending", 0, 1) == (video["state"], video["attempts"], video["claims"])
        assert str(video["error"]).startswith("not sent: ClientConnectorError")
        assert video["due_at"] > datetime.now(UTC)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("link", "error"),
    [
        (
            "videos.example/1.mp4",
            "url: must begin with http:// or https:// or valossaupload:// or file://",
        ),
        (
            "https://b.example/1?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-Signature=00",
            "url: signed link ended 2026-01-01 00:01:00 UTC",
        ),
    ],
)
async def test_a_row_that_cannot_be_sent_fails_by_itself(
    database: Database, simulator: Simulator, link: str, error: str
) -> None:
    """A row that cannot be sent fails without a request and without an attempt."""
    await add(database, link, *urls(2))
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2, failed=1)) == (report.stop.reason, report.counts)
    video = await row(database, 1)
    assert ("failed", 0, None) == (video["state"], video["attempts"], video["http_status"])
    assert str(video["error"]).startswith(error)
    assert 2 == len(simulator.requests)


FORMS = ("{} {}", "{} {}.25", "{}T{}Z", "{} {}Z", "{}T{}+00:00", "{}T{}-01:30", "{}T{}.1234567Z")


@pytest.mark.parametrize("form", FORMS)
async def test_a_due_at_of_each_form_is_sent_when_it_is_due(
    database: Database, simulator: Simulator, plain: Plain, form: str
) -> None:
    """A ``due_at`` of plain SQL, as the README writes it, is sent after it, and not before."""
    sql = "INSERT INTO videos (url, due_at) VALUES ('https://videos.example/{}', '{}')"
    for name, day in (("past", "2026-01-01"), ("future", "2099-01-01")):
        await say(plain, sql.format(name, form.format(day, "12:00:00")))
    report = await Worker().run(database, simulator.url)
    assert Counts(submitted=1) == report.counts
    assert ["https://videos.example/past"] == [each.url for each in simulator.requests]
    assert "pending" == (await row(database, 2))["state"]


@pytest.mark.usefixtures("served")
async def test_a_due_at_without_a_zone_is_of_the_session_that_writes_it(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """On a server, a moment without an offset is meant in the time zone of the writing session; one
    with a Z or an offset is not.
    """
    await say(plain, "SET TIME ZONE 'Asia/Tokyo'")
    sql = "INSERT INTO videos (url, due_at) VALUES ('https://videos.example/1', '{}')"
    for moment in ("2026-01-01 12:00:00", "2026-01-01T12:00:00", "2026-01-01T12:00:00Z"):
        await say(plain, sql.format(moment))
    moments = [(await row(database, number))["due_at"] for number in (1, 2, 3)]
    tokyo, utc = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (3, 12))
    assert [tokyo, tokyo, utc] == moments
    report = await Worker().run(database, simulator.url)
    assert 1 == report.counts.submitted


async def test_law_17_a_thousand_rows_of_one_address_cost_one_request(
    database: Database, simulator: Simulator
) -> None:
    """Law 17: of a thousand rows with one address one is bought. The others are no answers of the
    API: they neither stop the run nor slow it.
    """
    await add(database, *urls(1) * 1_000, *urls(3)[1:])
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=3, failed=999)) == (
        report.stop.reason,
        report.counts,
    )
    assert 3 == len(simulator.requests)
    assert str((await row(database, 999))["error"]).startswith("url: is that of video 1, which ")


async def test_law_17_what_is_inserted_again_is_not_bought_again(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """Law 17: a list that a program inserts each night with plain SQL is bought once."""
    again = "INSERT INTO videos (url) VALUES ('https://videos.example/1.mp4')"
    await say(plain, again)
    await Worker().run(database, simulator.url)
    await say(plain, again)
    report = await Worker().run(database, simulator.url)
    assert Counts(failed=1) == report.counts
    await say(plain, again.replace("(url)", "(url, may_buy_twice)").replace("')", "', 1)"))
    report = await Worker().run(database, simulator.url)
    assert Counts(submitted=1) == report.counts
    assert 2 == len(simulator.requests)


async def test_a_job_id_that_another_video_holds_is_a_doubt(database: Database) -> None:
    """A job id that another video holds is not written a second time: the video is in doubt."""
    await add(database, *urls(2))
    async with Simulator(Options(script={2: "same-id"})) as simulator:
        report = await Worker(slots=1).run(database, simulator.url)
        first, second = await row(database, 1), await row(database, 2)
        assert Counts(submitted=1, in_doubt=1) == report.counts
        assert (simulator.accepted[0].job_id, None) == (first["job_id"], second["job_id"])
        assert "in_doubt" == second["state"]
        assert "which video 1 holds already" in str(second["error"])


async def test_attempts_are_used_up(database: Database, simulator: Simulator) -> None:
    """Law 2: each POST has a claim of its own, and a video that is put off ends after its last
    attempt.
    """
    simulator.options = Options(failures={"500": 1.0})
    await add(database, *urls(1))
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    video = await row(database, 1)
    assert (StopReason.EMPTY, Counts(failed=1, postponed=2)) == (report.stop.reason, report.counts)
    assert ("failed", 3, 3) == (video["state"], video["attempts"], video["claims"])
    assert 3 == len(simulator.requests)
    assert [(1, "try_later"), (2, "try_later"), (3, "try_later")] == await facts(database, 1)
    assert str(video["error"]).endswith("(attempt 3, the last one allowed)")


# --- Laws 1, 4, 5, 6: claims and doubts -----------------------------------------------------------


async def test_the_intent_is_on_disk_before_the_request(database: Database, plain: Plain) -> None:
    """Law 1: the intent is on disk while the request is under way."""
    await add(database, *urls(1))
    async with (
        Simulator(Options(script={1: "stall"})) as simulator,
        Worker().on(database, simulator.url) as runner,
        going(runner),
    ):
        await simulator.wait_for_requests(1)
        columns = "state, claims, claimed_by, request_id, length(claim_token)"
        seen = plain.execute(f"SELECT {columns} FROM videos")
        assert [("submitting", 1, "worker-1", simulator.requests[0].request_id, 32)] == seen
        simulator.release()


async def test_a_doubt_outlives_a_clean_answer(database: Database, simulator: Simulator) -> None:
    """Law 5: a refusal after an unclear attempt leaves the video in doubt. So do attempts used up
    by doubts.
    """
    simulator.options = Options(script={1: "lost", 2: "400", 3: "500"})
    await add(database, *urls(1))
    settings = replace(RUN_SETTINGS, on_doubt="retry", doubt_settle_seconds=0.0)
    report = await Worker(options=DRAIN_ALL, settings=settings).run(database, simulator.url)
    video = await row(database, 1)
    assert (StopReason.EMPTY, Counts(in_doubt=3)) == (report.stop.reason, report.counts)
    assert ("in_doubt", 3) == (video["state"], video["attempts"])
    assert str(video["error"]).startswith("an earlier attempt is still in doubt")
    assert [
        (1, "in_doubt"),
        (1, "retry"),
        (2, "refused"),
        (2, "retry"),
        (3, "try_later"),
    ] == await facts(database, 1)


async def test_on_doubt_retry_repeats_until_it_is_clear(
    database: Database, simulator: Simulator
) -> None:
    """With ``on_doubt = retry`` a doubt is repeated, after it has settled, until the answer is
    clear.
    """
    simulator.options = Options(script={1: "lost"})
    await add(database, *urls(2))
    settings = replace(RUN_SETTINGS, on_doubt="retry", doubt_settle_seconds=0.2)
    report = await Worker(options=DRAIN_ALL, settings=settings).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2, in_doubt=1)) == (
        report.stop.reason,
        report.counts,
    )
    assert [(1, "in_doubt"), (1, "retry"), (2, "accepted")] == await facts(database, 1)
    first, *_, last = simulator.requests
    assert first.url == last.url
    assert last.arrived_at - first.arrived_at >= 0.2


async def test_doubts_stay_without_the_order_to_repeat(
    database: Database, simulator: Simulator
) -> None:
    """Law 3: without the order to repeat, a doubt is not sent again."""
    simulator.options = Options(script={1: "lost"})
    await add(database, *urls(2))
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=1, in_doubt=1)) == (
        report.stop.reason,
        report.counts,
    )
    assert 2 == len(simulator.requests)


@pytest.mark.parametrize(
    ("said", "state", "job_id", "counts"),
    [
        (answer(job("j-1")), "submitted", "j-1", Counts(submitted=1)),
        (answer(b"no", "400 Bad Request"), "failed", None, Counts(failed=1)),
        (answer(b"no", "502 Bad Gateway"), "in_doubt", None, Counts(in_doubt=1)),
    ],
)
async def test_an_answer_after_the_lease_settles_its_own_doubt(
    database: Database, plain: Plain, said: bytes, state: str, job_id: str | None, counts: Counts
) -> None:
    """Law 6: an answer after the end of the lease settles its own doubt."""
    await add(database, *urls(1))
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def late(line: Line) -> None:
        await line.request()
        asked.set()
        await may_answer.wait()
        line.say(said)

    ahead = RealTime(wall=RUN_SETTINGS.lease.total_seconds() + 1)
    other = Worker(clock=ahead.clock, name="other").transaction()
    async with (
        Wire(late) as wire,
        Worker().on(database, wire.url) as runner,
        going(runner) as run,
    ):
        await asked.wait()
        await database.write(lambda connection: other.write(connection, [], 0), "test")
        assert "in_doubt" == state_of(plain, 1)
        may_answer.set()
        report = await run
    video = await row(database, 1)
    assert (StopReason.EMPTY, counts) == (report.stop.reason, report.counts)
    assert (state, 1, job_id) == (video["state"], video["attempts"], video["job_id"])
    clear = [(1, "late_answer")] if state != "in_doubt" else []
    assert [(1, "in_doubt"), *clear] == await facts(database, 1)


async def test_an_answer_after_a_jump_of_the_clock_counts_its_video_once(
    database: Database, plain: Plain
) -> None:
    """A run that ends its own lease, since its clock was set forward, takes the late answer for it:
    the video is counted as submitted, not as a doubt as well.
    """
    await add(database, *urls(2))
    times, asked, may_answer = RealTime(), asyncio.Event(), asyncio.Event()

    async def late(line: Line) -> None:
        if urls(2)[1] in str(await line.request()):
            asked.set()
            await may_answer.wait()
            line.say(answer(job("j-2")))
        else:
            line.say(answer(job("j-1")))

    async with (
        Wire(late) as wire,
        Worker(clock=times.clock).on(database, wire.url) as runner,
        going(runner) as run,
    ):
        await asked.wait()
        times.wall = RUN_SETTINGS.lease.total_seconds() + 1
        await database.write(rewrite, "test")
        await until(lambda: "in_doubt" == state_of(plain, 2), run)
        may_answer.set()
        report = await run
    assert (StopReason.EMPTY, Counts(submitted=2)) == (report.stop.reason, report.counts)
    assert [(1, "in_doubt"), (1, "late_answer")] == await facts(database, 2)


async def test_a_lease_of_another_process_is_waited_for(
    database: Database, simulator: Simulator
) -> None:
    """Law 4: a drain that waits stays until a dead process' claim is a doubt."""
    await add(database, *urls(1))
    nearly_over = datetime.now(UTC) - timedelta(seconds=69.6)  # leases of SETTINGS last 70 s
    await database.write(
        lambda c: c.exec_driver_sql("UPDATE videos SET due_at = '2026-01-01 00:00:00'"), "test"
    )
    await take(database, nearly_over, worker="dead")
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(in_doubt=1)) == (report.stop.reason, report.counts)
    assert [] == simulator.requests


async def test_a_drain_leaves_the_claims_of_others(
    database: Database, simulator: Simulator
) -> None:
    """A drain that does not wait ends beside another process' claim and leaves it."""
    await add(database, *urls(2))
    await take(database, datetime.now(UTC), worker="other")
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=1)) == (report.stop.reason, report.counts)
    assert {"submitting": 1, "submitted": 1} == await states(database)


# --- Law 8: a refused account ---------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 4])
async def test_a_bad_key_costs_two_requests(
    database: Database, simulator: Simulator, slots: int
) -> None:
    """Law 8: a refused key costs one request and one confirmation, and no video an attempt."""
    await add(database, *urls(10))
    report = await Worker(key="wrong", slots=slots).run(database, simulator.url)
    assert (StopReason.ACCOUNT, Counts(postponed=2)) == (report.stop.reason, report.counts)
    assert "HTTP 401: Invalid API key" == report.stop.message
    assert Stop(reason=StopReason.ACCOUNT, message="HTTP 401: Invalid API key") == report.stop
    assert 2 == len(simulator.requests)
    assert 2 == len({each.url for each in simulator.requests})
    assert {"pending": 10} == await states(database)
    assert [0] * 10 == [(await row(database, number))["attempts"] for number in range(1, 11)]


async def test_a_wrong_address_costs_two_requests(database: Database, simulator: Simulator) -> None:
    """A run at an address that is not the API's ends after two requests."""
    await add(database, *urls(10))
    simulator.options = Options(failures={"404": 1.0})
    report = await Worker().run(database, simulator.url)
    assert (StopReason.ADDRESS, Counts(postponed=2)) == (report.stop.reason, report.counts)
    assert Stop(reason=StopReason.ADDRESS, message="HTTP 404: Not Found") == report.stop
    assert 2 == len(simulator.requests)
    assert {"pending": 10} == await states(database)


async def test_a_refused_key_that_nobody_can_confirm_is_told(
    database: Database, simulator: Simulator
) -> None:
    """A drain of one video reports a refused key."""
    await add(database, *urls(1))
    worker = Worker(key="wrong", settings=MUCH_LATER)
    report = await worker.run(database, simulator.url)
    assert StopReason.ACCOUNT == report.stop.reason
    assert Stop(reason=StopReason.ACCOUNT, message="HTTP 401: Invalid API key") == report.stop


@pytest.mark.parametrize("number", [1, 3])
async def test_one_stray_refusal_stops_nothing(
    database: Database, simulator: Simulator, number: int
) -> None:
    """Law 8: a single refusal of the key does not stop a run whose other requests are accepted."""
    await add(database, *urls(10))
    simulator.options = Options(script={number: "401"})
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=10, postponed=1)) == (
        report.stop.reason,
        report.counts,
    )
    assert 11 == len(simulator.requests)


async def test_a_video_that_is_always_refused_fails_alone(database: Database) -> None:
    """Law 8: a video that always gets a 401 fails alone, and the run goes on."""
    await add(database, *urls(10))
    refusal = answer(b'{"errors": [{"message": "Forbidden video"}]}', "401 Unauthorized")
    async with Wire(by_url({urls(10)[3]: refusal})) as wire:
        report = await Worker(options=DRAIN_ALL).run(database, wire.url)
    assert (StopReason.EMPTY, Counts(submitted=9, failed=1, postponed=1)) == (
        report.stop.reason,
        report.counts,
    )
    video = await row(database, 4)
    assert ("failed", "HTTP 401: Forbidden video") == (video["state"], video["error"])


async def test_a_daemon_goes_on_when_the_key_works_again(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """Law 8: a daemon with a refused key waits, tries again, and goes on when the key works."""
    await add(database, *urls(4))
    simulator.options = Options(keys=frozenset())
    worker = Worker(options=DAEMON, dice=0.0)
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await simulator.wait_for_requests(2)
        await until(lambda: plain.execute("SELECT cool_down_reason FROM account") != [(None,)], run)
        why = plain.execute("SELECT cool_down_reason FROM account")
        assert [("HTTP 401: Invalid API key",)] == why
        simulator.options = Options()
        await simulator.wait_for_accepted(4)
        _, second, third, *_ = simulator.requests
        assert third.arrived_at - second.arrived_at >= 4.9
        await until(lambda: [(4,)] == plain.execute("SELECT count(job_id) FROM videos"), run)
        await agree(database, simulator)


async def test_a_person_ends_the_cool_down_of_a_trouble(
    database: Database, simulator: Simulator, plain: Plain, hands: Hands
) -> None:
    """Law 13: the cool-down of the breaker is that of the table, which a person ends at once. The
    clock stands still, so no time ends it.
    """
    await let_start(database, hands.wall)
    await add(database, *urls(CROWD + 1), due_at=hands.wall)
    simulator.options = Options(failures={"500": 1.0})
    worker = Worker(options=DAEMON, clock=hands.clock, settings=replace(RUN_SETTINGS, rate=1000))
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await until(lambda: plain.execute("SELECT cool_down_reason FROM account") != [(None,)], run)
        asked = len(simulator.requests)
        await database.write(lambda c: shared_state.end_cool_down(c, hands.wall), "test")
        await simulator.wait_for_requests(asked + 1)


# --- Law 9: no disk, no POST ----------------------------------------------------------------------


async def unwritable(database: Database, on: str = "ON") -> None:
    """Refuse every change to the worker's own connection, as on a read-only disk."""
    await database.write(lambda c: c.exec_driver_sql(f"PRAGMA query_only = {on}"), "test")


@pytest.mark.usefixtures("path")
async def test_nothing_is_sent_that_cannot_be_written_down(
    database: Database, simulator: Simulator
) -> None:
    """Law 9: nothing is sent while its intent cannot be written."""
    await add(database, *urls(3))
    await unwritable(database)
    report = await Worker().run(database, simulator.url)
    assert (StopReason.DATABASE, Counts()) == (report.stop.reason, report.counts)
    assert "read-only" in report.stop.message
    assert [] == simulator.requests


@pytest.mark.usefixtures("remade")
async def test_nothing_is_sent_whose_intent_a_server_refuses(
    served: str, simulator: Simulator
) -> None:
    """Law 9: nothing is sent while the server is read-only."""
    async with open_database(served) as database:
        await add(database, *urls(3))
    ((name,),) = execute(served, "SELECT current_database()")
    execute(served, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with open_database(served) as database:
        report = await Worker().run(database, simulator.url)
        assert {"pending": 3} == await states(database)
    assert (StopReason.DATABASE, Counts()) == (report.stop.reason, report.counts)
    assert "read-only: name the primary server" in report.stop.message
    assert [] == simulator.requests


async def full(database: Database, pages: int = 1) -> None:
    """Give the worker's own connection no more room than that, as on a full disk."""
    pragma = f"PRAGMA max_page_count = {pages}"
    await database.write(lambda c: c.exec_driver_sql(pragma), "test")


@pytest.mark.usefixtures("path")
async def test_a_full_disk_stops_the_requests(database: Database, simulator: Simulator) -> None:
    """Law 9: no request is made while there is no room for its intent."""
    await add(database, *urls(3_000))
    await full(database)
    report = await Worker(slots=64).run(database, simulator.url)
    assert StopReason.DATABASE == report.stop.reason
    assert "full" in report.stop.message
    assert len(simulator.requests) == report.counts.submitted < 3_000


@pytest.mark.usefixtures("path")
async def test_a_daemon_outlives_a_full_disk(database: Database, simulator: Simulator) -> None:
    """A daemon reports a full disk, and goes on when there is room again."""
    await add(database, *urls(300))
    await full(database)
    log, said = listener()
    worker = Worker(options=DAEMON, log=log, slots=64)
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await until(lambda: "database_trouble" in events(said), run)
        assert len(simulator.accepted) < 300
        await full(database, 1_000_000)
        await simulator.wait_for_accepted(300)
        assert "database_works" in events(said)


LONG_REFUSAL = answer(b"no " * 1_000, "400 Bad Request")
"""Too long for a page that is nearly full."""


@pytest.mark.usefixtures("path")
async def test_an_outcome_waits_for_the_disk(database: Database, plain: Plain) -> None:
    """An answer that cannot be written at once is written later, without another request."""
    await nearly_full_history(plain)
    await add(database, *urls(1))
    log, said = listener()
    async with (
        Wire(by_url({urls(1)[0]: LONG_REFUSAL}, before=lambda: full(database))) as wire,
        Worker(options=DAEMON, log=log).on(database, wire.url) as runner,
        going(runner) as run,
    ):
        await until(lambda: "database_trouble" in events(said), run)
        assert "submitting" == state_of(plain, 1)
        await full(database, 1_000_000)
        await until(lambda: "database_works" in events(said), run)
        assert "failed" == state_of(plain, 1)
        assert 1 == len(wire.lines)


async def nearly_full_history(plain: Plain) -> None:
    """Leave less room on the last page of the history than a long message takes."""
    columns = "(video_id, attempt, at, who, fact, message)"
    values = "(0, 1, '2026-01-01 00:00:00', 'x', 'accepted', printf('%.3500c', 'x'))"
    await say(plain, f"INSERT INTO history {columns} VALUES {values}")


# --- Laws 10 and 12: the pace ---------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_pace_holds_in_every_window(
    url: str, simulator: Simulator, processes: int
) -> None:
    """Law 10: every window holds at most the allowed starts, and hardly fewer."""
    settings = replace(RUN_SETTINGS, rate=20, period_seconds=0.5)
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(url)) for _ in range(processes)]
        await add(databases[0], *urls(50))
        late = await stack.enter_async_context(metronome())
        worker = Worker(settings=settings, slots=8)
        await asyncio.gather(*(worker.run(each, simulator.url) for each in databases))
    assert 50 == len(simulator.requests)
    log = Log(came=moments(simulator.requests), late=late)
    log.keeps(20, 0.5)
    log.uses(0.65, 20, 0.5, 0.0, log.came[-1])


async def test_the_pace_holds_across_a_restart(database: Database, simulator: Simulator) -> None:
    """Law 10: the pace holds in every window across a restart."""
    settings = replace(RUN_SETTINGS, rate=10, period_seconds=0.5)
    await add(database, *urls(20))
    async with metronome() as late:
        for _ in range(2):
            await Worker(settings=settings, options=replace(DRAIN, limit=10)).run(
                database, simulator.url
            )
    assert 20 == len(simulator.requests)
    Log(came=moments(simulator.requests), late=late).keeps(10, 0.5)


async def test_a_429_holds_everybody_back(database: Database, simulator: Simulator) -> None:
    """No request starts before the time that a 429 names."""
    simulator.options = Options(script={3: "429"})
    await add(database, *urls(6))
    report = await Worker(slots=1, dice=0.0).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=6, postponed=1)) == (
        report.stop.reason,
        report.counts,
    )
    gaps = [b.arrived_at - a.arrived_at for a, b in pairwise(simulator.requests)]
    assert [False, False, True, False, False, False] == [gap >= 0.95 for gap in gaps]


async def test_a_limit_of_the_server_is_found(database: Database, simulator: Simulator) -> None:
    """A run slows down to a lower limit of the server, and throttled videos are submitted
    uncharged.
    """
    simulator.options = Options(limit=Limit(10, 0.3))
    await add(database, *urls(20))
    report = await Worker(settings=replace(RUN_SETTINGS, rate=60)).run(database, simulator.url)
    assert (StopReason.EMPTY, 20) == (report.stop.reason, report.counts.submitted)
    assert {1} == {(await row(database, number))["attempts"] for number in range(1, 21)}
    assert 0 < report.counts.postponed < 10
    await agree(database, simulator)


async def test_a_longer_cool_down_ends_a_drain(database: Database) -> None:
    """A drain ends at a cool-down of hours."""
    await add(database, *urls(2))
    slow = answer(b"", "429 Slow", Retry_After="4000")
    async with Wire(by_url({urls(2)[0]: slow})) as wire:
        report = await Worker(options=DRAIN_ALL).run(database, wire.url)
    assert (StopReason.COOL_DOWN, Counts(postponed=1)) == (report.stop.reason, report.counts)
    assert report.stop.message.startswith("a cool-down until 2")
    assert report.stop.message.endswith(" UTC (HTTP 429, empty body)")
    assert {"pending": 2} == await states(database)


async def test_only_what_can_be_sent_is_claimed(database: Database, plain: Plain) -> None:
    """Law 12: no more videos are claimed than there are slots."""
    await add(database, *urls(20))
    script = dict.fromkeys(range(2, 6), "stall")
    async with (
        Simulator(Options(script=script)) as simulator,
        Worker(slots=4).on(database, simulator.url) as runner,
        going(runner) as run,
    ):
        await simulator.wait_for_requests(5)
        counted = plain.execute("SELECT state, count(*) FROM videos GROUP BY state ORDER BY state")
        assert [("pending", 15), ("submitted", 1), ("submitting", 4)] == counted
        simulator.release()
        assert Counts(submitted=20) == (await run).counts


async def test_only_what_is_near_is_claimed(database: Database, plain: Plain) -> None:
    """Law 12: a video is claimed only shortly before the pace lets it start."""
    await add(database, *urls(4))
    settings = replace(RUN_SETTINGS, rate=1, period_seconds=0.4)
    ahead: list[int] = []
    async with (
        Simulator(Options()) as simulator,
        Worker(settings=settings).on(database, simulator.url) as runner,
        going(runner) as run,
    ):
        for count in range(1, 5):
            await simulator.wait_for_requests(count)
            (claims,) = plain.execute("SELECT sum(claims) FROM videos")[0]
            ahead.append(int(str(claims)) - count)
        assert [0, 0, 0, 0] == ahead
        assert Counts(submitted=4) == (await run).counts


# --- Law 13: a crowd of doubts --------------------------------------------------------------------


async def test_a_crowd_of_doubts_ends_a_drain(database: Database, simulator: Simulator) -> None:
    """Law 13: a crowd of doubts ends a drain."""
    simulator.options = Options(failures={"proxy-502": 1.0}, latency_seconds=0.005)
    await add(database, *urls(30))
    time_of_day = RealTime()
    worker = Worker(clock=time_of_day.clock, settings=replace(RUN_SETTINGS, timeout_seconds=20.0))
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await simulator.wait_for_requests(8)
        time_of_day.monotonic = 58.0  # the last clear answer was about a minute ago
        report = await run
    assert (StopReason.UNREACHABLE, Counts(in_doubt=8)) == (report.stop.reason, report.counts)
    assert report.stop.message.startswith("HTTP 502: ")
    assert {"pending": 22, "in_doubt": 8} == await states(database)


async def test_after_a_crowd_of_doubts_one_asks_at_a_time(database: Database, plain: Plain) -> None:
    """Law 13: after a crowd of doubts requests go one at a time until one is answered clearly."""
    script = dict.fromkeys(range(1, 9), "proxy-502") | {9: "stall"}
    await add(database, *urls(20))
    async with (
        Simulator(Options(script=script)) as simulator,
        Worker(dice=0.0).on(database, simulator.url) as runner,
        going(runner) as run,
    ):
        await simulator.wait_for_requests(9)
        eighth, ninth = [each.arrived_at for each in simulator.requests[7:]]
        assert ninth - eighth >= 4.9
        assert [(1,)] == plain.execute("SELECT count(*) FROM videos WHERE state = 'submitting'")
        simulator.release()
        report = await run
    assert (StopReason.EMPTY, Counts(submitted=12, in_doubt=8)) == (
        report.stop.reason,
        report.counts,
    )


# --- Twenty equal refusals ------------------------------------------------------------------------


async def test_twenty_equal_refusals_stop_a_run(database: Database, simulator: Simulator) -> None:
    """Twenty equal refusals stop a run, and its report names the rows that failed."""
    simulator.options = Options(failures={"400": 1.0})
    await add(database, *urls(30))
    report = await Worker(slots=1).run(database, simulator.url)
    assert (StopReason.EQUAL_REFUSALS, Counts(failed=20)) == (report.stop.reason, report.counts)
    assert "HTTP 400: Bad Request" == report.stop.message
    assert (
        Stop(
            reason=StopReason.EQUAL_REFUSALS,
            message="HTTP 400: Bad Request",
            videos=tuple(range(1, 21)),
        )
        == report.stop
    )
    assert {"failed": 20, "pending": 10} == await states(database)


async def test_equal_refusals_of_many_slots_are_all_told(
    database: Database, simulator: Simulator
) -> None:
    """Rows that fail by the same refusal while it is confirmed are reported too."""
    simulator.options = Options(failures={"400": 1.0})
    await add(database, *urls(40))
    report = await Worker(slots=8).run(database, simulator.url)
    failed = await database.read(
        lambda c: c.exec_driver_sql("SELECT id FROM videos WHERE state = 'failed'").scalars().all()
    )
    assert StopReason.EQUAL_REFUSALS == report.stop.reason
    assert report.stop is not None
    assert 20 <= len(failed) < 28
    assert sorted(failed) == sorted(report.stop.videos)


async def test_refusals_that_quote_their_rows_are_equal(database: Database) -> None:
    """Refusals that differ only in the quoted video are equal."""
    links = [f"https://videos.example/{letter * 3}.mp4" for letter in "abcdefghijklmnopqrstuvwxy"]
    await add(database, *links)
    refusals = {
        link: answer(json.dumps({"errors": [{"message": f"no {link}"}]}).encode(), "400 Bad")
        for link in links
    }
    async with Wire(by_url(refusals)) as wire:
        report = await Worker(slots=1).run(database, wire.url)
    assert (StopReason.EQUAL_REFUSALS, Counts(failed=20)) == (report.stop.reason, report.counts)


async def test_different_refusals_stop_nothing(database: Database) -> None:
    """Refusals that differ do not stop a run."""
    await add(database, *urls(25))
    refusals = {
        url: answer(f"wrong {'way ' * number}".encode(), "400 Bad")
        for number, url in enumerate(urls(25))
    }
    async with Wire(by_url(refusals)) as wire:
        report = await Worker(slots=1).run(database, wire.url)
    assert (StopReason.EMPTY, Counts(failed=25)) == (report.stop.reason, report.counts)


# --- The end of a drain ---------------------------------------------------------------------------


async def test_a_drain_does_not_wait_unless_told(database: Database, simulator: Simulator) -> None:
    """A drain leaves a video that is due tomorrow, and ends."""
    await add(database, *urls(1), due_at=datetime.now(UTC) + timedelta(days=1))
    await add(database, *urls(1))
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=1)) == (report.stop.reason, report.counts)
    assert {"pending": 1, "submitted": 1} == await states(database)


async def test_a_drain_that_waits_works_off_backoffs(
    database: Database, simulator: Simulator
) -> None:
    """A drain that waits submits a video that is due a little later."""
    simulator.options = Options(script={1: "500", 2: "500"})
    await add(database, *urls(1), due_at=datetime.now(UTC) + timedelta(seconds=0.2))
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=1, postponed=2)) == (
        report.stop.reason,
        report.counts,
    )


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("limit", [1, 3])
async def test_a_limit_is_as_many_requests(
    database: Database, simulator: Simulator, limit: int, slots: int
) -> None:
    """A run with a limit makes exactly that many requests."""
    await add(database, *urls(8))
    settings = replace(RUN_SETTINGS, rate=50)  # so that some of them wait for their start
    worker = Worker(options=replace(DRAIN, limit=limit), slots=slots, settings=settings)
    report = await worker.run(database, simulator.url)
    assert (StopReason.LIMIT, Counts(submitted=limit)) == (report.stop.reason, report.counts)
    assert limit == len(simulator.requests)
    assert {"pending": 8 - limit, "submitted": limit} == await states(database)


@pytest.mark.parametrize(
    "jump", [RealTime(wall=58), RealTime(monotonic=58)], ids=["wall", "monotonic"]
)
async def test_a_claim_that_has_grown_old_is_given_back(
    database: Database, simulator: Simulator, plain: Plain, jump: RealTime
) -> None:
    """Law 4: a claim whose lease has run short by either clock is given back unsent. It does not
    count against the limit.
    """
    await add(database, *urls(3))
    time_of_day = RealTime()
    worker = Worker(
        clock=time_of_day.clock,
        options=replace(DRAIN, limit=2),
        settings=replace(RUN_SETTINGS, rate=1, period_seconds=0.24),
    )
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await until(lambda: state_of(plain, 2) == "submitting", run)
        assert 1 == len(simulator.requests)
        time_of_day.wall, time_of_day.monotonic = jump.wall, jump.monotonic
        report = await run
    assert (StopReason.LIMIT, Counts(submitted=2)) == (report.stop.reason, report.counts)
    assert 2 == len(simulator.requests)
    assert [(1, "released"), (2, "accepted")] == await facts(database, 2)
    video = await row(database, 2)
    assert ("submitted", 1, 2) == (video["state"], video["attempts"], video["claims"])


async def test_a_limit_of_time_ends_a_run(database: Database, simulator: Simulator) -> None:
    """A run ends when its time is over, and leaves nothing claimed."""
    await add(database, *urls(10))
    settings = replace(RUN_SETTINGS, rate=1, period_seconds=0.25)
    options = replace(DRAIN_ALL, max_seconds=1.5)
    began = time.monotonic()
    report = await Worker(options=options, settings=settings).run(database, simulator.url)
    assert 1.5 <= time.monotonic() - began < 20
    assert StopReason.TIME == report.stop.reason
    submitted = report.counts.submitted
    assert 2 <= submitted <= 7
    assert {"pending": 10 - submitted, "submitted": submitted} == await states(database)


async def test_time_ends_a_wait_as_well(database: Database, simulator: Simulator) -> None:
    """A run that waits for a backoff ends when its time is over."""
    await add(database, *urls(1), due_at=datetime.now(UTC) + timedelta(hours=1))
    options = replace(DRAIN_ALL, max_seconds=0.2)
    async with asyncio.timeout(5):
        assert (
            StopReason.TIME
            == (await Worker(options=options).run(database, simulator.url)).stop.reason
        )


async def test_a_pause_ends_a_drain(database: Database, simulator: Simulator, plain: Plain) -> None:
    """A drain ends when a person pauses the queue."""
    await add(database, *urls(2))
    await say(plain, "UPDATE account SET paused_at = CURRENT_TIMESTAMP, pause_reason = 'lunch'")
    report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
    assert (
        RunReport(stop=Stop(reason=StopReason.PAUSED, message="lunch"), counts=Counts()) == report
    )
    assert [] == simulator.requests


# --- Caps -----------------------------------------------------------------------------------------

TOTAL = Cap(name="max_total", most=5, window=None)
DAILY = Cap(name="max_per_day", most=5, window=timedelta(hours=24))


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
@pytest.mark.parametrize("cap", [TOTAL, DAILY])
async def test_a_cap_ends_a_drain(
    database: Database, simulator: Simulator, options: RunOptions, cap: Cap
) -> None:
    """A drain ends at a cap with exactly as many purchases as allowed."""
    simulator.options = Options(script={1: "400", 3: "lost", 4: "400"})
    await add(database, *urls(20))
    report = await Worker(options=options, caps=(cap,)).run(database, simulator.url)
    assert (StopReason.CAP, Counts(submitted=4, failed=2, in_doubt=1)) == (
        report.stop.reason,
        report.counts,
    )
    assert f"{cap.name} = 5 is reached" in report.stop.message
    assert 5 == len(simulator.accepted)
    again = await Worker(options=options, caps=(cap,)).run(database, simulator.url)
    assert (StopReason.CAP, Counts()) == (again.stop.reason, again.counts)


async def test_a_cap_and_a_limit_hold_together(database: Database, simulator: Simulator) -> None:
    """Both the cap and ``--limit`` hold, and the lower one ends the run."""
    await add(database, *urls(20))
    first = replace(DRAIN, limit=3)
    report = await Worker(options=first, caps=(TOTAL,)).run(database, simulator.url)
    assert (StopReason.LIMIT, Counts(submitted=3)) == (report.stop.reason, report.counts)
    report = await Worker(options=first, caps=(TOTAL,)).run(database, simulator.url)
    assert (StopReason.CAP, Counts(submitted=2)) == (report.stop.reason, report.counts)


async def test_what_another_process_claimed_is_waited_for(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A drain at a cap waits for another process' claims, since a release frees room."""
    await add(database, *urls(20))
    await take(database, datetime.now(UTC) + timedelta(seconds=60), worker="other")
    async with (
        Worker(caps=(TOTAL,)).on(database, simulator.url) as runner,
        going(runner) as run,
        asyncio.timeout(10),
    ):
        await until(lambda: 4 == len(plain.execute("SELECT 1 FROM history")), run)
        await asyncio.wait({run}, timeout=0.2)  # not to wait: it has the time to end too soon
        await say(plain, "UPDATE videos SET state = 'pending' WHERE state = 'submitting'")
        report = await run
    assert (StopReason.CAP, Counts(submitted=5)) == (report.stop.reason, report.counts)


async def test_a_cap_does_not_outlast_a_dead_process(
    database: Database, simulator: Simulator
) -> None:
    """A drain at a cap ends after the lease of a dead process."""
    await add(database, *urls(1), due_at=datetime(2026, 1, 1, tzinfo=UTC))
    nearly_over = datetime.now(UTC) - timedelta(seconds=69.6)  # leases of SETTINGS last 70 s
    await take(database, nearly_over, worker="dead")
    await add(database, *urls(20)[1:])
    report = await Worker(caps=(TOTAL,)).run(database, simulator.url)
    assert (StopReason.CAP, Counts(submitted=4, in_doubt=1)) == (report.stop.reason, report.counts)


async def test_a_daemon_sits_out_a_cap_and_says_so_once(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A daemon waits at a cap, logs it once, and goes on when it opens."""
    await add(database, *urls(6))
    log, said = listener()
    worker = Worker(options=DAEMON, caps=(DAILY,), log=log)

    def told() -> int:
        return sum(each["event"] == "cap_reached" for each in said)

    async with (
        worker.on(database, simulator.url) as runner,
        going(runner) as run,
        asyncio.timeout(10),
    ):
        await until(lambda: told() == 1, run)
        await say(plain, "INSERT INTO videos (url) VALUES ('https://videos.example/7.mp4')")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await asyncio.to_thread(
            plain.execute, "UPDATE history SET at = ? WHERE video_id = 1", as_text(yesterday)
        )
        await simulator.wait_for_accepted(6)
        await until(lambda: told() == 2, run)
    assert {"submitted": 6, "pending": 1} == await states(database)


# --- A queue that moves ----


@pytest.mark.parametrize("options", [DRAIN_ALL, DAEMON])
async def test_a_queue_that_has_moved_ends_a_run(
    database: Database, simulator: Simulator, options: RunOptions
) -> None:
    """A run ends when its queue has moved, and sends nothing more."""
    await add(database, *urls(2))
    await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")
    async with asyncio.timeout(10):
        report = await Worker(options=options).run(database, simulator.url)
    assert (
        RunReport(stop=Stop(reason=StopReason.MOVED, message="sqlite:///b.db"), counts=Counts())
        == report
    )
    assert [] == simulator.requests


async def test_an_idle_daemon_sees_that_its_queue_moves(
    database: Database, simulator: Simulator
) -> None:
    """An idle daemon ends when its queue moves, although nothing is due."""
    log, said = listener()
    worker = Worker(options=DAEMON, settings=replace(RUN_SETTINGS, poll_seconds=0.02), log=log)
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await until(lambda: said, run)
        await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")
        async with asyncio.timeout(10):
            assert StopReason.MOVED is (await run).stop.reason


async def test_what_is_in_flight_comes_home_to_a_queue_that_moves(database: Database) -> None:
    """An answer that is on its way when the queue moves is settled."""
    await add(database, *urls(2))

    async def move() -> None:
        await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")

    async with Wire(by_url({}, move)) as wire:
        report = await Worker(options=DAEMON, slots=1).run(database, wire.url)
    assert (StopReason.MOVED, Counts(submitted=1)) == (report.stop.reason, report.counts)
    assert {"submitted": 1, "pending": 1} == await states(database)


# --- The daemon -----------------------------------------------------------------------------------


async def test_a_daemon_sees_a_new_row(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A daemon sees a row that another program inserts within its poll."""
    async with (
        Worker(options=DAEMON).on(database, simulator.url) as runner,
        going(runner),
        asyncio.timeout(10),
    ):
        for count in range(1, 6):
            await say(
                plain, f"INSERT INTO videos (url) VALUES ('https://videos.example/{count}.mp4')"
            )
            await simulator.wait_for_accepted(count)


async def test_a_row_is_seen_that_comes_right_after_the_look(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A row that is inserted between the look at the table and the watch for changes is seen."""
    looked: list[str] = []

    def now() -> datetime:
        looked.append("the look begins")
        return datetime.now(UTC)

    def monotonic() -> float:
        if looked == ["the look begins"]:
            looked.append("the look is over")
            plain.execute("INSERT INTO videos (url) VALUES ('https://videos.example/1.mp4')")
        return time.monotonic()

    worker = Worker(options=DAEMON, clock=Clock(now=now, monotonic=monotonic))
    async with worker.on(database, simulator.url) as runner, going(runner), asyncio.timeout(5):
        await simulator.wait_for_accepted(1)


async def test_a_daemon_wakes_for_the_next_due_row(
    database: Database, simulator: Simulator
) -> None:
    """A daemon wakes when a backoff ends, although nothing is written."""
    due_at = datetime.now(UTC) + timedelta(seconds=0.4)
    await add(database, *urls(1), due_at=due_at)
    settings = replace(RUN_SETTINGS, poll_seconds=60.0)
    async with (
        Worker(options=DAEMON, settings=settings).on(database, simulator.url) as runner,
        going(runner),
    ):
        async with asyncio.timeout(5):
            await simulator.wait_for_accepted(1)
        assert datetime.now(UTC) >= due_at


async def test_a_paused_daemon_goes_on_when_resumed(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A paused daemon stays, and goes on when it is resumed."""
    await add(database, *urls(2))
    await say(plain, "UPDATE account SET paused_at = CURRENT_TIMESTAMP")
    log, said = listener()
    worker = Worker(options=DAEMON, log=log)
    async with (
        worker.on(database, simulator.url) as runner,
        going(runner) as run,
        asyncio.timeout(10),
    ):
        await until(lambda: said, run)
        await say(plain, "UPDATE account SET paused_at = NULL")
        await simulator.wait_for_accepted(2)


# --- The stop -------------------------------------------------------------------------------------


async def test_an_idle_daemon_stops_at_once(database: Database, simulator: Simulator) -> None:
    """A stop ends the sleep of an idle daemon."""
    looks: list[datetime] = []

    def now() -> datetime:
        looks.append(datetime.now(UTC))
        return looks[-1]

    worker = Worker(
        options=DAEMON,
        settings=replace(RUN_SETTINGS, poll_seconds=60.0),
        clock=Clock(now=now, monotonic=time.monotonic),
    )
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await until(lambda: len(looks) > 1, run)  # it has looked twice, and goes to sleep
        runner.stop()
        async with asyncio.timeout(2):
            assert RunReport(stop=Stop(reason=StopReason.STOPPED), counts=Counts()) == await run


async def test_a_stop_gives_back_what_waits_and_lets_the_rest_end(
    database: Database, plain: Plain
) -> None:
    """A stop gives back unsent claims uncharged, and lets requests in flight end."""
    await add(database, *urls(5))
    settings = replace(
        RUN_SETTINGS, rate=1, period_seconds=0.05
    )  # the next start is reserved, but ahead
    due_at = (await row(database, 3))["due_at"]
    async with (
        Simulator(Options(script={2: "stall"})) as simulator,
        Worker(settings=settings).on(database, simulator.url) as runner,
        going(runner) as run,
    ):
        await simulator.wait_for_requests(2)
        await until(lambda: state_of(plain, 3) == "submitting", run)
        runner.stop()
        await until(lambda: state_of(plain, 3) == "pending", run)
        simulator.release()
        report = await run
        assert RunReport(stop=Stop(reason=StopReason.STOPPED), counts=Counts(submitted=2)) == report
        video = await row(database, 3)
        assert ("pending", 0, 1) == (video["state"], video["attempts"], video["claims"])
        assert due_at == video["due_at"]
        assert [(1, "released")] == await facts(database, 3)
        assert {"pending": 3, "submitted": 2} == await states(database)
        assert 2 == len(simulator.requests)


@pytest.mark.parametrize("grace_seconds", [0.2, 60.0])
async def test_after_the_grace_what_was_sent_is_in_doubt(
    database: Database, grace_seconds: float
) -> None:
    """After the grace a request that was sent is in doubt, and the run ends."""
    await add(database, *urls(3))
    settings = replace(RUN_SETTINGS, grace_seconds=grace_seconds)
    async with (
        Simulator(Options(script={2: "stall"})) as simulator,
        Worker(settings=settings, slots=1).on(database, simulator.url) as runner,
        going(runner) as run,
        asyncio.timeout(5),
    ):
        await simulator.wait_for_requests(2)
        runner.stop()
        if grace_seconds > 1:
            runner.hurry()
        report = await run
        assert (StopReason.STOPPED, Counts(submitted=1, in_doubt=1)) == (
            report.stop.reason,
            report.counts,
        )
        video = await row(database, 2)
        assert ("in_doubt", 1) == (video["state"], video["attempts"])
        assert "sent, but no answer was read: cut short by our own stop" == video["error"]


async def test_after_the_grace_what_was_not_sent_is_due(database: Database, plain: Plain) -> None:
    """After the grace a request that was still connecting is due again."""
    await add(database, *urls(1))
    with full_backlog() as port:
        async with (
            Worker(options=DAEMON).on(database, f"http://{LOOPBACK}:{port}") as runner,
            going(runner) as run,
        ):
            await until(lambda: state_of(plain, 1) == "submitting", run)
            runner.stop()
            runner.hurry()
            report = await run
    video = await row(database, 1)
    assert (StopReason.STOPPED, "pending", 0) == (
        report.stop.reason,
        video["state"],
        video["attempts"],
    )


async def impatiently(runner: Runner, run: asyncio.Task[RunReport]) -> RunReport:
    """Stop it, and hurry it again and again until it has ended."""
    runner.stop()
    async with asyncio.timeout(4):
        while not run.done():
            runner.hurry()
            await asyncio.sleep(0)
    return await run


@asynccontextmanager
async def an_outcome_that_does_not_fit(
    database: Database, plain: Plain, worker: Worker
) -> AsyncIterator[tuple[Runner, "asyncio.Task[RunReport]"]]:
    """Run until one request is answered while there is no room left to write that down."""
    await nearly_full_history(plain)
    await add(database, *urls(1))
    log, said = listener()
    async with (
        Wire(by_url({urls(1)[0]: LONG_REFUSAL}, before=lambda: full(database))) as wire,
        replace(worker, log=log).on(database, wire.url) as runner,
        going(runner) as run,
    ):
        await until(lambda: "database_trouble" in events(said), run)
        yield runner, run
    assert "settle_given_up" in events(said)
    assert "submitting" == state_of(plain, 1)


@pytest.mark.usefixtures("path")
async def test_a_stop_does_not_wait_for_ever_for_the_disk(database: Database, plain: Plain) -> None:
    """A stop ends although an outcome cannot be written; its lease will make it a doubt."""
    worker = Worker(options=DAEMON)
    async with an_outcome_that_does_not_fit(database, plain, worker) as (runner, run):
        report = await impatiently(runner, run)
        assert (StopReason.STOPPED, Counts()) == (report.stop.reason, report.counts)


@pytest.mark.usefixtures("path")
async def test_a_drain_does_not_wait_for_ever_for_the_disk(
    database: Database, plain: Plain
) -> None:
    """A drain ends although an outcome cannot be written, and names the database as the reason."""
    worker = Worker(options=DRAIN, settings=replace(RUN_SETTINGS, grace_seconds=0.1))
    async with an_outcome_that_does_not_fit(database, plain, worker) as (runner, run):
        while not run.done():
            runner.hurry()
            await asyncio.sleep(0)
        report = await run
        assert (StopReason.DATABASE, Counts()) == (report.stop.reason, report.counts)
        assert "full" in report.stop.message


@pytest.mark.parametrize("in_flight", [0, 1])
async def test_a_stop_does_not_wait_for_ever_for_a_lock(
    database: Database, url: str, in_flight: int
) -> None:
    """A stop ends while another program holds the database, with or without a request in flight."""
    await add(database, *urls(1 + in_flight))
    async with (
        Simulator(Options(script={2: "stall"})) as simulator,
        Worker(options=DAEMON).on(database, simulator.url) as runner,
        going(runner) as run,
    ):
        await simulator.wait_for_requests(1 + in_flight)
        with session(url) as other:
            await until(lambda: state_of(other, 1) == "submitted", run)
            other.execute("INSERT INTO videos (url) VALUES ('https://videos.example/x.mp4')")
            other.lock()
            report = await impatiently(runner, run)
        assert (StopReason.STOPPED, 1) == (report.stop.reason, report.counts.submitted)


async def test_a_drain_that_never_got_the_database_says_so(
    database: Database, simulator: Simulator, url: str
) -> None:
    """A drain that finds the database locked throughout reports that."""
    await add(database, *urls(1))
    async with Worker(options=replace(DRAIN, max_seconds=0.1)).on(
        database, simulator.url
    ) as runner:
        run = asyncio.create_task(runner.run())
        with session(url) as other:
            other.lock()
            await asyncio.wait({run}, timeout=6)
        report = await run
    assert (StopReason.HELD, 0) == (report.stop.reason, report.counts.submitted)


async def test_a_run_that_is_cancelled_writes_down_what_it_came_to(
    database: Database, simulator: Simulator
) -> None:
    """A cancelled run ends, and writes the outcome of each claim."""
    simulator.options = Options(failures={"stall": 1.0})
    await add(database, *urls(3))
    async with Worker().on(database, simulator.url) as runner:
        run = asyncio.create_task(runner.run())
        await simulator.wait_for_requests(1)
        run.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await run
    assert {"pending": 2, "in_doubt": 1} == await states(database)


@pytest.mark.usefixtures("path")
async def test_a_daemon_outlives_a_shared_row_that_is_gone(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """A daemon whose shared row is gone says so, and goes on when it is put back."""
    await add(database, *urls(1))
    log, said = listener()
    worker = Worker(options=DAEMON, log=log)
    async with worker.on(database, simulator.url) as runner, going(runner) as run:
        await simulator.wait_for_accepted(1)
        await say(plain, "DELETE FROM account")
        await say(plain, "INSERT INTO videos (url) VALUES ('https://videos.example/2.mp4')")
        await until(lambda: "database_trouble" in events(said), run)
        await say(plain, "INSERT INTO account (id) VALUES (1)")
        await simulator.wait_for_accepted(2)
    assert "lost its row" in str(said)


# --- Laws 11 and 14 -------------------------------------------------------------------------------


def everything(url: str) -> list[bytes]:
    """Return all that a database keeps: a file with those beside it, or a server's tables."""
    if not url.startswith("postgresql"):
        return [file.read_bytes() for file in Path(url).parent.iterdir()]
    tables = ("videos", "history", "account", "workers")
    return [repr(execute(url, f"SELECT * FROM {table}")).encode() for table in tables]


async def test_the_key_and_signatures_are_nowhere(
    database: Database, url: str, simulator: Simulator
) -> None:
    """Law 11: the key is neither in the database nor in the log, and no signed link's query is in
    the log.
    """
    signed = "https://b.example/1.mp4?Expires=9999999999&Signature=s1gnature&Key-Pair-Id=x"
    simulator.options = Options(script={1: "echo-key", 2: "garbage", 3: "lost"})
    await add(database, signed, *urls(3))
    log, said = listener()
    await Worker(log=log, slots=1).run(database, simulator.url)
    await database.close()
    assert 4 == len(simulator.requests)
    for stored in everything(url):
        assert b"demo-key" not in stored
    assert "demo-key" not in str(said)
    assert "s1gnature" not in str(said)
    assert [1, 2, 3, 4] == [each["video"] for each in said if each["event"] == "attempt_ended"]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("column", ["url", "media_id"])
async def test_a_poisoned_row_stops_nobody(
    database: Database, simulator: Simulator, plain: Plain, column: str
) -> None:
    """Law 14: a row of bytes that are no text is not sent, and stops no other."""
    await add(database, *urls(3))
    bad = "CAST(x'68747470733A2F2FFF' AS TEXT)"
    await say(plain, f"UPDATE videos SET {column} = {bad} WHERE id = 2")
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2, failed=1)) == (report.stop.reason, report.counts)
    error = await database.read(
        lambda c: c.exec_driver_sql("SELECT error FROM videos WHERE id = 2").scalar_one()
    )
    assert f"{column}: holds bytes that are not UTF-8; write the value again as UTF-8" == error
    assert 2 == len(simulator.requests)


@pytest.mark.usefixtures("path")
async def test_a_poisoned_file_stops_nobody(
    database: Database, simulator: Simulator, plain: Plain
) -> None:
    """Law 14: a file's address of bytes that are no text is refused, and stops no other."""
    await add(database, *urls(3))
    bad = "CAST(x'66696C653A2F2F2F7372762FFF' AS TEXT)"
    await say(plain, f"UPDATE videos SET url = {bad} WHERE id = 2")
    report = await Worker().run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2, failed=1)) == (report.stop.reason, report.counts)
    error = await database.read(
        lambda c: c.exec_driver_sql("SELECT error FROM videos WHERE id = 2").scalar_one()
    )
    assert "url: holds bytes that are not UTF-8; write the value again as UTF-8" == error


async def test_an_answer_that_cannot_be_stored_stops_nobody(database: Database) -> None:
    """Law 14: a text of the API that the table cannot take stops no other video's settling."""
    await add(database, *urls(3))
    odd = answer(b'{"errors": [{"message": "\\ud800 \\u0000"}]}', "400 Bad")
    async with Wire(by_url({urls(3)[1]: odd})) as wire:
        report = await Worker().run(database, wire.url)
    assert (StopReason.EMPTY, Counts(submitted=2, failed=1)) == (report.stop.reason, report.counts)
    assert "HTTP 400: \ufffd \ufffd" == (await row(database, 2))["error"]
