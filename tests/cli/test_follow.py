"""``follow``: jobs asked about until they have ended."""

import io
import os
import pty
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import pytest

from tests.cli.conftest import Beside, Cli, Said
from tests.conftest import START, Hands
from tests.parts import RUN_SETTINGS, Worker, add, let_start, listener
from worker.api.client import Api
from worker.cli.commands.follow import _ask
from worker.cli.session import Session, open_or_make
from worker.core.run_state import RunState
from worker.runner.follower import Follower
from worker.runner.limiter import Limiter
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.simulator import Options, Simulator
from worker.simulator.lives import Span

KEY = "sk-0123456789abcdef"
AT_ONCE = Span(0, 0)

Start = Callable[[Options], Beside]


def say(cli: Cli, simulator: Simulator, command: str, *words: str, **more: str) -> Said:
    """Run a command on that simulator and assert that it prints no key (law 11)."""
    variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "1000"}
    said = cli(command, *words, WORKER_LOG_LEVEL="error", **variables, **more)
    assert KEY not in said.out + said.err
    return said


def bought(cli: Cli, simulator: Simulator, number: int = 2, host: str = "a") -> None:
    """Hand in videos, and make their jobs due."""
    cli.sql("UPDATE account SET job_seconds = 60")
    for each in range(number):
        cli.insert(url=f"https://{host}.example/{each}.mp4")
    assert 0 == say(cli, simulator, "drain", WORKER_FOLLOW="off").code
    cli.sql("UPDATE jobs SET next_poll_at = accepted_at WHERE ended_as IS NULL")


def options(**more: object) -> Options:
    """Return options of a simulator that takes the key, and whose jobs end at once."""
    return Options(keys=frozenset({KEY}), **{"job_seconds": AT_ONCE, **more})  # type: ignore[arg-type]


def test_all_is_followed_to_its_end(cli: Cli, beside: Start) -> None:
    """Each change is a line, then come the numbers; exit 0 if every job has finished."""
    with beside(options()) as simulator:
        bought(cli, simulator)
        said = say(cli, simulator, "follow")
    ids = [job.job_id for job in simulator.accepted]
    assert (0, "") == (said.code, said.err)
    lines = said.out.splitlines()
    assert {f"video {n}, job {job}: finished" for n, job in enumerate(ids, 1)} == set(lines[:2])
    assert {"finished": "2", "open": "0", "spent for nothing": "0"}.items() <= said.pairs().items()


def test_nothing_to_follow_asks_nothing(cli: Cli, beside: Start) -> None:
    """A queue without open jobs is exit 0, and the API is not asked."""
    with beside(options()) as simulator:
        assert 0 == say(cli, simulator, "follow").code
        assert [] == simulator.questions


def test_an_error_is_money_spent_for_nothing(cli: Cli, beside: Start) -> None:
    """A job that ended in an error is named with its details, and is exit 1, also later."""
    with beside(options(dead_hosts=frozenset({"dead.example"}))) as simulator:
        bought(cli, simulator, 1, "dead")
        said = say(cli, simulator, "follow")
        assert 1 == said.code
        assert ": error: " in said.out.splitlines()[0]
        assert {"error": "1", "spent for nothing": "1"}.items() <= said.pairs().items()
        again = say(cli, simulator, "follow", "--json")
    assert (1, 1) == (again.code, again.json()["for_nothing"])


def test_once_asks_one_question(cli: Cli, beside: Start) -> None:
    """With --once one question is asked; jobs that are left are exit 75."""
    with beside(options(job_seconds=Span(3600, 3600))) as simulator:
        bought(cli, simulator)
        before = len(simulator.questions)
        said = say(cli, simulator, "follow", "--once")
        assert 75 == said.code
        assert ["list_jobs"] == [each.call for each in simulator.questions[before:]]
        assert 75 == say(cli, simulator, "follow", "--once").code
        assert before + 1 == len(simulator.questions)
    assert "2" == said.pairs()["open"]


def test_an_overdue_job_is_for_a_person(cli: Cli, beside: Start) -> None:
    """A job that is overdue is not waited for: exit 1."""
    with beside(options(job_script={1: "forever"})) as simulator:
        bought(cli, simulator, 1)
        cli.sql("UPDATE jobs SET overdue_since = accepted_at")
        said = say(cli, simulator, "follow")
    assert (1, "1") == (said.code, said.pairs()["overdue"])


@pytest.mark.parametrize(("kind", "code"), [("401", 77), ("proxy-404", 78)])
def test_a_refusal_ends_it(cli: Cli, beside: Start, kind: str, code: int) -> None:
    """A key that is refused is exit 77, an address that is not the API's 78; each is named."""
    with beside(options(status_failures={kind: 1.0})) as simulator:
        bought(cli, simulator, 1)
        said = say(cli, simulator, "follow")
    assert code == said.code
    assert f"HTTP {kind[-3:]}" in said.err


async def opened(session: Session, worker: Worker, url: str) -> Api:
    """Open the API for as long as the session."""
    return await session.stack.enter_async_context(worker.api(url))


def asked_in_vain(folder: Path, simulator: Simulator, stderr: TextIO) -> list[datetime]:
    """Follow a job about which no question is answered, in virtual time. Return the end of each
    wait.
    """
    hands, woken = Hands(), list[datetime]()

    class Leaping(Limiter):
        """Lets time pass instead of waiting."""

        async def wait_until(self, at: float) -> bool:
            hands.pass_seconds(max(0.0, at - hands.seconds))
            woken.append(hands.wall)
            return True

    with (
        open_or_make(replace(RUN_SETTINGS, database_url=f"sqlite:///{folder}/q.db")) as session,
        redirect_stderr(stderr),
    ):
        session.run(let_start(session.database, hands.wall))
        session.run(add(session.database, "https://a.example/1", state="submitted", job_id="j"))
        worker = Worker(settings=RUN_SETTINGS, clock=hands.clock, key=KEY)
        api = session.run(opened(session, worker, simulator.url))
        reconciler = Reconciler(
            api=api,
            limiter=Leaping(rate=5, period_seconds=1.0, monotonic=hands.clock.monotonic),
            write=session.database.write,
            transaction=worker.transaction(),
            state=RunState(began_at=hands.seconds, reconciles=True),
            reporter=Reporter(listener()[0]),
        )
        assert _ask(session, Follower(reconciler, lambda _: None), once=False) is None
    return woken


def test_what_gets_no_answer_is_not_waited_for(tmp_path: Path, beside: Start) -> None:
    """After ten minutes in which no question was answered it ends, and says so. Without a terminal
    it says nothing of its waits.
    """
    said = io.StringIO()
    with beside(options(status_failures={"500": 1.0})) as simulator:
        woken = asked_in_vain(tmp_path, simulator, said)
    assert timedelta(minutes=10) <= woken[-1] - START <= timedelta(minutes=25)
    assert "no question about the 1 jobs that are left was answered" in said.getvalue()
    assert "asked about" not in said.getvalue()


def test_a_long_wait_is_said_on_a_terminal(tmp_path: Path, beside: Start) -> None:
    """A terminal is told, once a wait, how many jobs are open and when they are asked about."""
    master, slave = pty.openpty()
    with (
        os.fdopen(master, "rb", buffering=0) as read,
        os.fdopen(slave, "w", encoding="utf-8") as terminal,
        beside(options(status_failures={"500": 1.0})) as simulator,
    ):
        woken = asked_in_vain(tmp_path, simulator, terminal)
        terminal.flush()
        shown = read.read(65_536).decode()
    pattern = r"^valossa-ingest: 1 open, to be asked about at (.*) UTC\r$"
    times = [
        datetime.fromisoformat(each).replace(tzinfo=UTC)
        for each in re.findall(pattern, shown, re.MULTILINE)
    ]
    assert len(times) > 3
    assert sorted({*times}) == times
    assert {*times[:-1]} <= {each.replace(microsecond=0) for each in woken}


def test_a_trouble_is_named_once(cli: Cli, beside: Start) -> None:
    """A question that fails is named on stderr, and says nothing about the job."""
    with beside(options(status_failures={"500": 1.0})) as simulator:
        bought(cli, simulator, 1)
        said = say(cli, simulator, "follow", "--once", "--json")
    assert (75, 1) == (said.code, said.json()["open"])
    assert 1 == said.err.count("HTTP 500")
