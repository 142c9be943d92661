import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from tests.cli.conftest import Beside, Cli
from worker.cli.commands.run_exit import Left, advice, of_run
from worker.core.host import HeldHost
from worker.core.reasons import Stop, StopReason
from worker.core.relocation import NAME_IT
from worker.core.run_state import Counts
from worker.runner.model import RunReport
from worker.simulator import Options

THEN = "then valossa-ingest resume --cool-down, and drain again or restart the daemon"
AGAIN = "run it again after that, or valossa-ingest resume --cool-down ends it"
LOOK = "look with valossa-ingest check --online, or run it again later"
NOTHING = Left(due=0, waiting=0, for_people=0)


def report(
    reason: StopReason, message: str = "", videos: tuple[int, ...] = (), **counts: int
) -> RunReport:
    """Return the report of a run that ended so."""
    stop = Stop(reason=reason, message=message, videos=videos)
    return RunReport(stop=stop, counts=Counts(**counts))


def left(*held: HeldHost, **numbers: int) -> Left:
    """Return the videos that a run left."""
    return replace(Left(hosts=held), **numbers)  # type: ignore[arg-type]


DEAD = HeldHost(
    host="dead.example",
    since=datetime(2026, 1, 1, tzinfo=UTC),
    why="3 of the last 4 jobs of dead.example could not be downloaded",
    videos=7,
    first=1,
    failed=5,
    probe_at=datetime(2026, 1, 1, 0, 15, tzinfo=UTC),
    probes=0,
    probe_video=None,
)


@pytest.mark.parametrize(
    ("run", "leaves", "code"),
    [
        (report(StopReason.EMPTY), NOTHING, 0),
        (report(StopReason.EMPTY, submitted=5), NOTHING, 0),
        (report(StopReason.EMPTY, submitted=5, postponed=2), NOTHING, 0),
        (report(StopReason.EMPTY, submitted=5, in_doubt=1), NOTHING, 0),
        (report(StopReason.EMPTY, submitted=5, failed=1), NOTHING, 1),
        (report(StopReason.EMPTY, submitted=5, in_doubt=1), left(for_people=1), 1),
        (report(StopReason.EMPTY), left(waiting=1), 75),
        (report(StopReason.EMPTY, submitted=5), left(DEAD, waiting=7, later=7), 1),
        (report(StopReason.CAP), left(DEAD, due=7), 1),
        (report(StopReason.ACCOUNT), left(DEAD), 77),
        (report(StopReason.EMPTY), left(due=1), 75),
        (report(StopReason.PAUSED), left(due=9), 75),
        (report(StopReason.PAUSED), NOTHING, 0),
        (report(StopReason.COOL_DOWN), left(due=9), 75),
        (report(StopReason.CAP, submitted=5), left(due=9), 75),
        (report(StopReason.CAP, failed=1), left(due=9), 1),
        (report(StopReason.CAP), left(due=9, for_people=1), 1),
        (report(StopReason.UNREACHABLE), left(waiting=9), 75),
        (report(StopReason.UNREACHABLE, in_doubt=1), left(for_people=1), 1),
        (report(StopReason.EMPTY), left(for_people=1), 1),
        (report(StopReason.LIMIT, submitted=5), NOTHING, 0),
        (report(StopReason.LIMIT, submitted=5), left(due=9, waiting=9), 0),
        (report(StopReason.LIMIT, submitted=5), left(due=9, waiting=1, unsettled=1), 75),
        (report(StopReason.TIME, submitted=5), NOTHING, 0),
        (report(StopReason.TIME, submitted=5), left(due=9), 75),
        (report(StopReason.TIME, submitted=5), left(waiting=1), 75),
        (report(StopReason.LIMIT, failed=1), left(due=9), 1),
        (report(StopReason.TIME), left(for_people=1), 1),
        (report(StopReason.HELD), left(due=9), 75),
        (report(StopReason.ACCOUNT), left(due=9), 77),
        (report(StopReason.EQUAL_REFUSALS, failed=20), left(due=9), 77),
        (report(StopReason.ADDRESS), left(due=9), 78),
        (report(StopReason.DATABASE), left(due=9), 78),
        (report(StopReason.MOVED), left(due=9), 78),
    ],
)
def test_a_run_ends_with_the_code_of_the_contract(run: RunReport, leaves: Left, code: int) -> None:
    """A run exits with the code that README.md lists under Exit codes."""
    assert code == of_run(run, leaves, None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("end", StopReason)
def test_a_signal_is_said_before_all_else(end: StopReason, number: int, code: int) -> None:
    """The code of a signal wins over every other code."""
    assert code == of_run(report(end, failed=1), left(due=1, for_people=1), number)


WORST_FIRST = (78, 77, 1, 75, 0)
BY_END = {
    StopReason.MOVED: 78,
    StopReason.ADDRESS: 78,
    StopReason.DATABASE: 78,
    StopReason.ACCOUNT: 77,
    StopReason.EQUAL_REFUSALS: 77,
}


def test_the_worse_wins() -> None:
    """The exit code is the worst that applies, in every combination."""
    for end, failed, people, due, waiting in product(StopReason, *([0, 1],) * 4):
        true = {0, BY_END.get(end, 0), failed, people}
        if end is StopReason.HELD or (end is not StopReason.LIMIT and (due or waiting)):
            true.add(75)
        expected = next(code for code in WORST_FIRST if code in true)
        leaves = left(due=due, waiting=waiting, for_people=people)
        assert expected == of_run(report(end, failed=failed), leaves, None)


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        (report(StopReason.EMPTY), []),
        (report(StopReason.LIMIT), []),
        (report(StopReason.STOPPED), []),
        (
            report(StopReason.ACCOUNT, "HTTP 401"),
            [
                "the API refuses the key or the account (HTTP 401): no video was charged",
                f"put the right key in the key's file or settle it with Valossa, {THEN}",
            ],
        ),
        (
            report(StopReason.ADDRESS, "HTTP 404"),
            [
                "what answers at api_url u (env) is not the API (HTTP 404): no video was charged",
                f"correct api_url, look with valossa-ingest check --online, {THEN}",
            ],
        ),
        (
            report(StopReason.EQUAL_REFUSALS, "bad language", (3, 5, 8)),
            [
                "stopped: the same refusal again and again (bad language)",
                "when its cause is gone: valossa-ingest retry --yes id=3 id=5 id=8 --database x.db",
            ],
        ),
        (report(StopReason.DATABASE, "database x: make room"), ["database x: make room"]),
        (
            report(StopReason.CAP, "max_total = 5 is reached: raise or unset it to go on"),
            ["max_total = 5 is reached: raise or unset it to go on"],
        ),
        (
            report(StopReason.MOVED, "sqlite:///b.db"),
            [f"this queue has moved to sqlite:///b.db: {NAME_IT}"],
        ),
        (
            report(StopReason.PAUSED, "wrong list"),
            ["paused (wrong list): valossa-ingest resume ends the pause; then run it again"],
        ),
        (
            report(StopReason.COOL_DOWN, "HTTP 429"),
            [f"ended early: the API asked for a longer pause, HTTP 429: {AGAIN}"],
        ),
        (
            report(StopReason.UNREACHABLE, "refused"),
            [f"no clear answer from api_url u (env) (refused): {LOOK}"],
        ),
    ],
)
def test_an_end_that_wants_something_says_what(run: RunReport, lines: list[str]) -> None:
    """The advice names the next command or the cause; a good run gets none."""
    assert lines == advice(run, NOTHING, "api_url u (env)", "the key's file", " --database x.db")


@pytest.mark.parametrize(
    ("run", "leaves", "lines"),
    [
        (report(StopReason.EMPTY, postponed=2), NOTHING, []),
        (
            report(StopReason.EMPTY, postponed=3),
            left(waiting=2, later=2),
            ["2 postponed: valossa-ingest list --state pending says why"],
        ),
        (
            report(StopReason.EMPTY, postponed=1),
            left(waiting=9, later=9),
            ["1 postponed: valossa-ingest list --state pending says why"],
        ),
        (report(StopReason.EMPTY), left(waiting=9, later=9), []),
        (
            report(StopReason.TIME),
            left(due=9),
            ["the time is over, and 9 are due still: run it again to go on"],
        ),
        (report(StopReason.LIMIT), left(due=9), []),
        (
            report(StopReason.EMPTY),
            left(waiting=2, unsettled=2),
            ["2 in doubt that time may settle: run it again later"],
        ),
        (
            report(StopReason.EMPTY),
            left(for_people=2),
            ["2 in doubt that only a person can settle", "see valossa-ingest why, then show ID"],
        ),
        (
            report(StopReason.EMPTY),
            left(due=3, unlisted=3),
            [
                (
                    "3 wait for the API's list of jobs after a 500: run it again later; "
                    "valossa-ingest check --online says what is wrong"
                )
            ],
        ),
        (report(StopReason.LIMIT), left(due=3, unlisted=3), []),
        (report(StopReason.EMPTY, failed=1), NOTHING, ["see valossa-ingest why, then show ID"]),
        (
            report(StopReason.EMPTY),
            left(DEAD, replace(DEAD, host="b.example", videos=2), later=9),
            [
                (
                    "9 held for 2 hosts, most of them since 3 of the last 4 jobs of dead.example "
                    "could not be downloaded"
                ),
                (
                    "a probe goes at 2026-01-01 00:15:00 UTC; valossa-ingest release --host"
                    " dead.example sends all once it serves again, cancel --state pending"
                    " --error-like 'jobs of dead.example could not' puts them away"
                ),
            ],
        ),
    ],
)
def test_what_is_left_is_named_with_the_way_on(
    run: RunReport, leaves: Left, lines: list[str]
) -> None:
    """The advice speaks of what is left now, whichever run it comes from."""
    assert lines == advice(run, leaves, "api_url u (env)", "the key's file", "")


def stamp(seconds: float) -> str:
    """Return a moment that many seconds from now, as the table keeps it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("fact", "due", "cool_down", "beside", "paused", "code"),
    [
        ("account_refused", -1, 600, False, False, 77),
        ("account_refused", -1, 600, True, False, 77),
        ("account_refused", 600, -1, True, False, 77),
        ("wrong_address", -1, 600, False, False, 78),
        ("wrong_address", 600, -1, True, False, 78),
        ("account_refused", 600, -1, False, False, 75),
        ("account_refused", -1, 600, True, True, 75),
        ("throttled", -1, 600, True, False, 75),
        ("accepted", 600, -1, True, False, 75),
    ],
)
def test_a_refusal_that_another_worker_met_is_the_end_of_a_drain(
    cli: Cli, fact: str, due: int, cool_down: int, *, beside: bool, paused: bool, code: int
) -> None:
    """A drain that a refused key or a wrong address keeps from its videos exits as if it had met it
    itself, also where their backoff hides it; a person's pause is told as such.
    """
    cli.insert(due_at=stamp(due))
    cli.sql(
        "INSERT INTO history (video_id, attempt, at, who, fact, message, job_id)"
        " VALUES (1, 1, ?, 'w', ?, 'HTTP 4xx: no', ?)",
        *(stamp(-9), fact, "j" if fact == "accepted" else None),
    )
    cli.sql("UPDATE account SET cool_down_until = ?, cool_down_reason = 'no'", stamp(cool_down))
    if beside:
        columns = "(id, host, pid, command, started_at, seen_at)"
        cli.sql(
            f"INSERT INTO workers {columns} VALUES ('w', 'a', 7, 'run', ?, ?)", *[stamp(-9)] * 2
        )
    if paused:
        cli("pause")
    said = cli("drain", VALOSSA_API_KEY="k", WORKER_API_URL="http://127.0.0.1:9/core")
    assert code == said.code
    assert (code in {77, 78}) == ("(HTTP 4xx: no)" in said.err)


def test_what_waits_for_a_list_that_cannot_be_read_is_named(
    cli: Cli, beside: Callable[[Options], Beside]
) -> None:
    """A video that met a 500 and is due is named at the end of a drain, and ``show`` says what it
    waits for.
    """
    cli.insert(http_status=500, attempts=1, claims=1, due_at=stamp(-9), updated_at=stamp(-9))
    cli.sql("UPDATE account SET list_asked_at = ?, list_read_at = ?", stamp(-3), stamp(-303))
    with beside(Options(listing=["500"])) as simulator:
        said = cli("drain", VALOSSA_API_KEY="demo-key", WORKER_API_URL=simulator.url)
    assert (75, "1") == (said.code, said.pairs()["due"])
    assert "valossa-ingest: 1 wait for the API's list of jobs after a 500" in said.err
    first = "it waits for the API's list of jobs, since its 500 may have made one; if no list can"
    assert f"next: {first} be read, it is sent some 300 s after the 500\n" in cli("show", 1).out
    assert "next: it is due\n" in cli("show", 1, WORKER_ON_DOUBT="hold").out
    cli.sql("UPDATE videos SET url = 'ftp://a.example/1.mp4'")
    assert "next: it will be refused without a request: url: must begin" in cli("show", 1).out
    cli.sql("UPDATE videos SET url = 'https://a.example/1.mp4'")
    cli.sql("UPDATE account SET list_read_at = ?", stamp(-3))
    assert "next: it is due\n" in cli("show", 1).out
