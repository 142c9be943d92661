import signal
from itertools import product

import pytest

from worker.cli.commands.run_exit import Left, advice, of_run
from worker.core.breaker import Stop, Trouble
from worker.core.relocation import NAME_IT
from worker.runner.orders import End, Report, Tally

LOOK = "look with valossa-ingest check --online, or run it again later"
NOTHING = Left(due=0, waiting=0, for_people=0)


def report(end: End, detail: str = "", stop: Stop | None = None, **tally: int) -> Report:
    """A run that ended so."""
    return Report(end=end, detail=detail, tally=Tally(**tally), stop=stop)


def left(**numbers: int) -> Left:
    """What a run left behind."""
    return Left(**{"due": 0, "waiting": 0, "for_people": 0, **numbers})


@pytest.mark.parametrize(
    ("run", "leaves", "code"),
    [
        (report(End.EMPTY), NOTHING, 0),
        (report(End.EMPTY, submitted=5), NOTHING, 0),
        (report(End.EMPTY, submitted=5, postponed=2), NOTHING, 0),
        (report(End.EMPTY, submitted=5, in_doubt=1), NOTHING, 0),
        (report(End.EMPTY, submitted=5, failed=1), NOTHING, 1),
        (report(End.EMPTY, submitted=5, in_doubt=1), left(for_people=1), 1),
        (report(End.EMPTY), left(waiting=1), 75),
        (report(End.EMPTY), left(due=1), 75),
        (report(End.PAUSED), left(due=9), 75),
        (report(End.PAUSED), NOTHING, 0),
        (report(End.COOL_DOWN), left(due=9), 75),
        (report(End.CAP, submitted=5), left(due=9), 75),
        (report(End.CAP, failed=1), left(due=9), 1),
        (report(End.CAP), left(due=9, for_people=1), 1),
        (report(End.UNREACHABLE), left(waiting=9), 75),
        (report(End.UNREACHABLE, in_doubt=1), left(for_people=1), 1),
        (report(End.LIMIT, submitted=5), left(due=9, waiting=9), 0),
        (report(End.TIME, submitted=5), left(due=9, waiting=9), 0),
        (report(End.LIMIT, failed=1), left(due=9), 1),
        (report(End.TIME), left(for_people=1), 1),
        (report(End.HELD), left(due=9), 75),
        (report(End.ACCOUNT), left(due=9), 77),
        (report(End.EQUAL_REFUSALS, failed=20), left(due=9), 77),
        (report(End.ADDRESS), left(due=9), 78),
        (report(End.DATABASE), left(due=9), 78),
        (report(End.MOVED), left(due=9), 78),
    ],
)
def test_a_run_ends_with_the_code_of_the_contract(run: Report, leaves: Left, code: int) -> None:
    """A cron job or a supervisor can act on the number alone (design.md, section 6)."""
    assert code == of_run(run, leaves, None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("end", End)
def test_a_signal_is_said_before_all_else(end: End, number: int, code: int) -> None:
    """Whoever stopped the run is told that it was stopped, whatever else is true."""
    assert code == of_run(report(end, failed=1), left(due=1, for_people=1), number)


WORST_FIRST = (78, 77, 1, 75, 0)
BY_END = {End.MOVED: 78, End.ADDRESS: 78, End.DATABASE: 78, End.ACCOUNT: 77, End.EQUAL_REFUSALS: 77}


def test_the_worse_wins() -> None:
    """Of everything that is true of a run, the code says the worst, in every combination."""
    for end, failed, people, due, waiting in product(End, *([0, 1],) * 4):
        true = {0, BY_END.get(end, 0), failed, people}
        if end is End.HELD or ((due or waiting) and end not in {End.LIMIT, End.TIME}):
            true.add(75)
        expected = next(code for code in WORST_FIRST if code in true)
        leaves = left(due=due, waiting=waiting, for_people=people)
        assert expected == of_run(report(end, failed=failed), leaves, None)


STOP = Stop(trouble=Trouble.EQUAL_REFUSALS, message="bad language", videos=(3, 5, 8))


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        (report(End.EMPTY), []),
        (report(End.LIMIT), []),
        (report(End.STOPPED), []),
        (
            report(End.ACCOUNT, "HTTP 401"),
            [
                "the API refuses the key or the account (HTTP 401): no video was charged",
                "put the right key in the key's file, or settle it with Valossa, and run it again",
            ],
        ),
        (
            report(End.ADDRESS, "HTTP 404"),
            [
                "what answers at api_url u (env) is not the API (HTTP 404): no video was charged",
                "correct api_url, look with valossa-ingest check --online, and run it again",
            ],
        ),
        (
            report(End.EQUAL_REFUSALS, "bad language", STOP),
            [
                "stopped: the same refusal again and again (bad language)",
                "when its cause is gone: valossa-ingest retry --yes id=3 id=5 id=8 --database x.db",
            ],
        ),
        (report(End.DATABASE, "database x: make room"), ["database x: make room"]),
        (
            report(End.CAP, "max_total = 5 is reached: raise or unset it to go on"),
            ["max_total = 5 is reached: raise or unset it to go on"],
        ),
        (
            report(End.MOVED, "sqlite:///b.db"),
            [f"this queue has moved to sqlite:///b.db: {NAME_IT}"],
        ),
        (
            report(End.PAUSED, "wrong list"),
            ["paused (wrong list): valossa-ingest resume, then run it again"],
        ),
        (
            report(End.COOL_DOWN, "HTTP 429"),
            ["ended early: the API asked for a longer pause (HTTP 429); run it again later"],
        ),
        (
            report(End.UNREACHABLE, "refused"),
            [f"no clear answer from api_url u (env) (refused): {LOOK}"],
        ),
        (
            report(End.EMPTY, postponed=2),
            ["2 postponed: valossa-ingest list --state pending says why"],
        ),
    ],
)
def test_an_end_that_wants_something_says_what(run: Report, lines: list[str]) -> None:
    """The last lines of a run are what to do next; where all is well there are none."""
    assert lines == advice(run, "api_url u (env)", "the key's file", " --database x.db")
