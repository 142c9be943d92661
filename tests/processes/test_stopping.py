import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.plain import session
from tests.processes.programs import (
    Program,
    Programs,
    add_videos,
    bought_twice,
    let_leases_end,
    states,
    unknown,
    videos,
    within,
)
from worker.simulator import Limit, Options, Simulator

pytestmark = pytest.mark.slow

AT_ONCE_SECONDS = 5.0
"""The longest an end "at once" takes on a busy machine, without a timeout or a cool-down."""

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
"""The exit code that a shell gives an end by a signal."""

STOPPING = (
    "valossa-ingest: stopping: {} in flight, whose answers are awaited for {} s at most; a second "
    "Ctrl-C or SIGTERM ends them at once and leaves them in doubt, perhaps bought"
)

NOHUP = """\
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "worker", *sys.argv[1:]])
"""

INTERRUPTED = """\
import importlib.abc, signal, sys
from worker.__main__ import main
module = sys.argv.pop(1)
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith(module):
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
main()
"""
"""Python that runs the program, and presses Ctrl-C when it begins to load a module."""


def stalled_after_the_first(count: int) -> Options:
    """Answer the first request, so that the worker trusts the API; stall ``count`` more."""
    return Options(script=dict.fromkeys(range(2, 2 + count), "stall"))


@asynccontextmanager
async def at_once() -> AsyncIterator[None]:
    """Fail if what is done inside takes longer than an end at once may."""
    began = time.monotonic()
    yield
    assert AT_ONCE_SECONDS > time.monotonic() - began


async def in_flight(program: Program, simulator: Simulator, count: int) -> None:
    """Wait until the first request is answered and settled, and ``count`` more are stalled."""
    await program.logged("attempt_ended", status=200)
    await within(simulator.wait_for_requests(1 + count))


@pytest.mark.parametrize(("number", "code"), CODES.items())
async def test_an_answer_within_the_grace_is_settled(
    worker: Programs, simulator: Simulator, url: str, number: int, code: int
) -> None:
    """A stopped run starts nothing more, releases its claims and writes down what it bought."""
    simulator.options = stalled_after_the_first(2)
    add_videos(url, 9)
    program = await worker.start("drain", "--json", concurrency=3, rate=1, period_seconds=0.24)
    await in_flight(program, simulator, 2)
    program.signal(number)
    await program.logged("run_stopping")
    simulator.release()
    done = await program.ended()
    assert code == done.code
    sentences = [STOPPING.format("[23]", 25)] * (number == signal.SIGINT)
    assert len(sentences) == len(done.sentences)
    assert all(map(re.fullmatch, sentences, done.sentences))
    assert {"submitted": 3, "pending": 6} == states(url)
    assert 3 == len(simulator.requests)
    rows = videos(url)
    released = [row for row in rows if row["state"] == "pending" and row["claims"]]
    assert [0] * len(released) == [row["attempts"] for row in released]
    assert [None] * 9 == [row["claim_token"] for row in rows]
    told = {line["video"] for line in done.events("attempt_ended") if line["outcome"] == "released"}
    assert {row["id"] for row in released} == told
    assert (3, 6) == (done.told["submitted"], done.told["due"])


async def test_a_claim_that_waits_for_its_start_is_released(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A claim that has not started is due again after a stop, and its attempt is not spent."""
    simulator.options = stalled_after_the_first(9)
    add_videos(url, 20)
    program = await worker.start("drain", "--json", concurrency=10, rate=1, period_seconds=0.02)
    await in_flight(program, simulator, 1)
    program.signal(signal.SIGTERM)
    await program.logged("attempt_ended", outcome="released")
    simulator.release()
    done = await program.ended()
    assert 143 == done.code
    assert [] == bought_twice(simulator.accepted)
    assert {row["job_id"] for row in videos(url)} - {None} == {
        job.job_id for job in simulator.accepted
    }
    assert {"submitted", "pending"} == set(states(url))


async def test_what_outlives_the_grace_is_in_doubt(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """Requests without an answer at the end of the grace become doubts, and are reported."""
    simulator.options = stalled_after_the_first(3)
    add_videos(url, 9)
    program = await worker.start("run", concurrency=3, grace_seconds=0.2)
    await in_flight(program, simulator, 3)
    async with at_once():
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert 143 == done.code
    assert {"submitted": 1, "in_doubt": 3, "pending": 5} == states(url)
    assert 4 == len(simulator.requests) == len(simulator.accepted)
    assert [] == unknown(url, simulator.accepted)
    doubts = [line for line in done.events("attempt_ended") if line["outcome"] == "in_doubt"]
    assert 3 == len(doubts)


async def test_a_second_signal_ends_the_grace(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A second Ctrl-C ends the run at once, and its requests become doubts."""
    simulator.options = stalled_after_the_first(3)
    add_videos(url, 9)
    program = await worker.start("drain", concurrency=3, grace_seconds=600, timeout_seconds=600)
    await in_flight(program, simulator, 3)
    async with at_once():
        program.signal(signal.SIGINT)
        await program.logged("run_stopping", in_flight=3)
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert 130 == done.code
    assert {"submitted": 1, "in_doubt": 3, "pending": 5} == states(url)
    assert [] == unknown(url, simulator.accepted)


async def test_a_closed_terminal_that_is_told_twice_is_one_stop(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A second SIGHUP, as a shell and its terminal send one each, leaves the grace as it is."""
    simulator.options = stalled_after_the_first(3)
    add_videos(url, 4)
    program = await worker.start("drain", concurrency=3, grace_seconds=600, timeout_seconds=600)
    await in_flight(program, simulator, 3)
    program.signal(signal.SIGHUP)
    await program.logged("run_stopping", in_flight=3)
    program.signal(signal.SIGHUP)
    program.signal(signal.SIGUSR2)
    await program.logged("signal_ignored", signal="SIGUSR2")
    simulator.release()
    assert 129 == (await program.ended()).code
    assert {"submitted": 4} == states(url)


@pytest.mark.parametrize("command", ["drain", "run"])
async def test_signals_that_ask_for_nothing_are_noted(
    worker: Programs, simulator: Simulator, url: str, command: str
) -> None:
    """SIGALRM and SIGUSR2 end no run and leave no doubt."""
    simulator.options = stalled_after_the_first(1)
    add_videos(url, 3)
    program = await worker.start(command, concurrency=1)
    await in_flight(program, simulator, 1)
    for number in (signal.SIGALRM, signal.SIGUSR2):
        program.signal(number)
        await program.logged("signal_ignored", signal=number.name)
    simulator.release()
    await within(simulator.wait_for_accepted(3))
    program.signal(signal.SIGTERM)
    assert (await program.ended()).code in {0, 143}
    assert {"submitted": 3} == states(url)


async def test_under_nohup_a_closed_terminal_stops_nothing(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A run whose SIGHUP is ignored from its start goes on after one."""
    simulator.options = stalled_after_the_first(1)
    add_videos(url, 3)
    program = await worker.start("drain", program=("-c", NOHUP), concurrency=1)
    await in_flight(program, simulator, 1)
    program.signal(signal.SIGHUP)
    program.signal(signal.SIGUSR2)
    await program.logged("signal_ignored", signal="SIGUSR2")
    simulator.release()
    assert 0 == (await program.ended()).code
    assert {"submitted": 3} == states(url)


@pytest.mark.parametrize(
    ("words", "module"),
    [(("status",), "status"), (("drain",), "run"), (("import", "-"), "import_")],
)
async def test_ctrl_c_in_the_first_moments_is_no_traceback(
    worker: Programs, url: str, words: tuple[str, ...], module: str
) -> None:
    """Ctrl-C while the program still loads ends it with 130 and without a word."""
    for each in ("worker.cli", "argparse", "worker.cli.parser", f"worker.cli.commands.{module}"):
        done = await worker.run(each, *words, program=("-c", INTERRUPTED))
        assert (130, "", "") == (done.code, done.out, done.err)
    assert {} == states(url)


@pytest.mark.parametrize("limit", [("--limit", "3"), ("--max-seconds", "10")])
async def test_the_grace_holds_for_the_last_requests_of_a_limit(
    worker: Programs, simulator: Simulator, url: str, limit: tuple[str, str]
) -> None:
    """A drain that starts nothing more has the same grace after a signal."""
    simulator.options = stalled_after_the_first(2)
    add_videos(url, 9)
    program = await worker.start(
        "drain", *limit, concurrency=2, grace_seconds=0.2, timeout_seconds=600
    )
    await in_flight(program, simulator, 2)
    async with at_once():
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert 143 == done.code
    assert {"submitted": 1, "in_doubt": 2, "pending": 6} == states(url)


@pytest.mark.parametrize("command", ["drain", "run"])
async def test_a_cool_down_keeps_nobody_from_stopping(
    worker: Programs, simulator: Simulator, url: str, command: str
) -> None:
    """A stop while the API has asked for a pause does not wait for its end."""
    simulator.options = Options(limit=Limit(1, 50))
    add_videos(url, 3)
    program = await worker.start(command, concurrency=1)
    await program.logged("attempt_ended", outcome="throttled")
    async with at_once():
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert 143 == done.code
    assert {"submitted": 1, "pending": 2} == states(url)
    assert 2 == len(simulator.requests)


async def test_an_idle_daemon_stops_at_once(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """An idle daemon ends at once at a signal."""
    add_videos(url, 1)
    program = await worker.start("run")
    await program.logged("attempt_ended")
    async with at_once():
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert 143 == done.code
    assert {"submitted": 1} == states(url)
    assert 1 == len(simulator.requests)


async def test_an_import_that_was_stopped_goes_on_when_repeated(
    worker: Programs, url: str, tmp_path: Path
) -> None:
    """Ctrl-C ends an import, and the rows read so far are in the queue.

    The same command adds the rest, and no row twice.
    """
    addresses = [f"https://videos.example/{number}.mp4" for number in range(12_000)]
    lines = ["url\n", *(f"{address}\n" for address in addresses)]
    program = await worker.start("import", "-", "--json", measured=False)
    program.stdin.transport.set_write_buffer_limits(high=0)
    sent = 0
    while not program.stdin.is_closing():
        program.stdin.writelines(line.encode() for line in lines[sent : sent + 500])
        sent += 500
        if sent == 5_000:
            program.signal(signal.SIGINT)
        try:
            await within(program.stdin.drain())
        except ConnectionError:
            break
    stopped = await program.ended()
    assert 130 == stopped.code
    first = [row["url"] for row in videos(url)]
    assert 0 < len(first) < 12_000
    assert addresses[: len(first)] == first
    assert (len(first), len(first)) == (stopped.told["rows"], stopped.told["inserted"])
    assert any("the same list again goes on" in sentence for sentence in stopped.sentences)

    (tmp_path / "list.csv").write_text("".join(lines))
    again = await worker.run("import", "list.csv", "--json")
    assert 0 == again.code
    assert 12_000 - len(first) == again.told["inserted"]
    assert addresses == [row["url"] for row in videos(url)]


async def test_an_import_that_waits_for_its_input_can_be_stopped(
    worker: Programs, url: str
) -> None:
    """Ctrl-C ends an import whose input is silent, and the rows read are kept."""
    program = await worker.start("import", "-", measured=False)
    program.stdin.write(b"url\n" + b"https://videos.example/1.mp4\n" * 20_000)
    await within(program.stdin.drain())
    program.signal(signal.SIGINT)
    async with at_once():
        done = await program.ended()
    assert 130 == done.code
    assert {"pending": 1} == states(url)


@pytest.mark.parametrize(("number", "code"), CODES.items())
async def test_an_import_that_has_nothing_yet_can_be_stopped(
    worker: Programs, tmp_path: Path, number: int, code: int
) -> None:
    """A signal ends an import of a pipe without a writer, and no database is made."""
    os.mkfifo(tmp_path / "pipe")
    program = await worker.start("import", "pipe", database_url="new.db")
    with await within(asyncio.to_thread((tmp_path / "pipe").open, "wb")):  # when it is waited for
        program.signal(number)
        async with at_once():
            done = await program.ended()
    assert (code, "", "") == (done.code, done.out, done.err)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
async def test_a_second_signal_ends_an_import_that_waits_for_the_database(
    worker: Programs, url: str, number: int
) -> None:
    """A second signal ends an import that waits for a locked database."""
    with session(url) as other:
        other.lock()
        program = await worker.start("import", "-")
        program.stdin.write(b"url\nhttps://videos.example/1.mp4\n")
        program.stdin.close()
        await program.logged("database_waited_for")
        async with at_once():
            program.signal(number)  # two of one number that come at once may be one
            program.signal(signal.SIGTERM)  # if both are waiting, Python takes the lower one first
            done = await program.ended()
        assert (128 + number, []) == (done.code, done.sentences)
        other.execute("ROLLBACK")
    assert {} == states(url)


async def test_after_kill_9_exactly_what_was_in_flight_is_in_doubt(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """The claims of a killed worker become doubts after their leases.

    They are not sent again, and other videos are sent meanwhile.
    """
    simulator.options = stalled_after_the_first(3)
    add_videos(url, 9)
    program = await worker.start("drain", concurrency=3)
    await in_flight(program, simulator, 3)
    program.kill()
    assert -signal.SIGKILL == (await program.ended()).code
    assert {"submitted": 1, "submitting": 3, "pending": 5} == states(url)
    sent = {request.url for request in simulator.requests[1:]}
    assert sent == {row["url"] for row in videos(url) if row["state"] == "submitting"}
    simulator.release()

    early = await worker.run("drain", "--json")
    assert 75 == early.code
    assert (5, 0, 3) == tuple(early.told[name] for name in ("submitted", "in_doubt", "waiting"))
    assert {"submitted": 6, "submitting": 3} == states(url)

    let_leases_end(url)
    late = await worker.run("drain", "--json")
    assert 1 == late.code
    assert (0, 3) == (late.told["submitted"], late.told["in_doubt"])
    assert 3 == len(late.events("lease_expired"))
    assert sent == {row["url"] for row in videos(url) if row["state"] == "in_doubt"}
    assert 9 == len(simulator.requests) == len(simulator.accepted)
    assert [] == bought_twice(simulator.accepted)
    assert [] == unknown(url, simulator.accepted)
