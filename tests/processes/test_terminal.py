"""A run on a real terminal shows itself, and gives the terminal back."""

import re
import signal

import pytest

from tests.processes.programs import Program, Programs, add_videos, execute, moment, states, until
from tests.wire import free_port
from worker.simulator import Options, Simulator

pytestmark = pytest.mark.slow

COLOUR = r"\x1b\[[0-9;]*[349][0-7][0-9;]*m"
"""A sequence that chooses a colour, not a weight."""


def plain(shown: str) -> str:
    """Return the text on a terminal without its colours and line ends."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))


def restored(shown: str) -> bool:
    """Return True if the cursor was given back as often as it was hidden."""
    return shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


async def held_back(program: Program, simulator: Simulator, requests: int) -> None:
    """Wait until so many requests are there and the block was drawn."""
    await simulator.wait_for_requests(requests)
    await program.printed("in flight, ")


@pytest.mark.parametrize("columns", [120, 80])
async def test_a_terminal_shows_a_drain_in_a_block(
    worker: Programs, simulator: Simulator, url: str, columns: int
) -> None:
    """On a terminal a drain shows a block until its bar is full, then the counts, and no log."""
    simulator.options = Options(latency_seconds=0.4)
    add_videos(url, 9)
    done = await (await worker.start_on_terminal("drain", columns=columns)).ended()
    assert 0 == done.code
    assert {"submitted": 9} == states(url)
    shown = plain(done.out)
    assert re.search(r"\[#+\] 9/9 0:00:0\d nothing due 0 in flight, 9 submitted, 0 failed", shown)
    assert "bought 9, perhaps 0 more, 9 today last answer accepted, video 9" in shown
    assert "submitted 9 failed 0 in doubt 0" in shown
    assert restored(done.out)
    assert "\x1b[?25l" in done.out
    assert done.out.endswith("\n")
    for noise in ("Traceback", "attempt_ended", "{"):
        assert noise not in shown
    rows = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row) for row in re.split(r"[\r\n]", done.out))
    assert columns >= max(map(len, rows))


async def test_a_narrow_terminal_shows_one_line(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """On a terminal of 50 columns the block is one line."""
    simulator.options = Options(latency_seconds=0.4)
    add_videos(url, 9)
    done = await (await worker.start_on_terminal("drain", columns=50)).ended()
    assert " 9/9 0:00:0" in plain(done.out)
    assert "in flight" not in done.out
    assert restored(done.out)


async def test_a_short_run_shows_no_block(worker: Programs) -> None:
    """A drain that is over at once shows its counts alone."""
    done = await (await worker.start_on_terminal("drain")).ended()
    assert (0, False) == (done.code, "\x1b" in done.out)
    assert plain(done.out).startswith("submitted 0 ")


@pytest.mark.parametrize(
    ("variables", "block", "colour"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"CI": "true"}, False, False),
        ({"TTY_INTERACTIVE": "0"}, False, False),
    ],
    ids=["plain", "NO_COLOR", "dumb", "CI", "not-interactive"],
)
async def test_the_environment_chooses_colour_and_motion(
    worker: Programs,
    simulator: Simulator,
    url: str,
    variables: dict[str, str],
    block: bool,  # noqa: FBT001 - a row of the table
    colour: bool,  # noqa: FBT001
) -> None:
    """NO_COLOR takes the colours alone; a terminal that moves no cursor, and a CI, get lines."""
    simulator.options = Options(latency_seconds=0.8, script={2: "400"})
    add_videos(url, 5)
    program = await worker.start_on_terminal("drain", variables=variables)
    done = await program.ended()
    assert 1 == done.code
    assert block is ("\x1b[?25l" in done.out)
    assert colour is (re.search(COLOUR, done.out) is not None)
    assert block is not ("valossa-ingest: nothing is due; 5/5 " in done.out)
    assert "needs a person: 1 failed" in plain(done.out)
    assert restored(done.out)


async def test_log_lines_stand_above_the_block(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A log that was asked for scrolls above the block, without the colours that NO_COLOR takes."""
    simulator.options = Options(latency_seconds=0.4)
    add_videos(url, 9)
    program = await worker.start_on_terminal(
        "drain", log_level="info", variables={"NO_COLOR": "1"}, columns=200
    )
    done = await program.ended()
    assert 9 == done.out.count("attempt_ended")
    assert None is re.search(COLOUR, done.out)
    tail = plain(done.out[done.out.rindex("run_ended") :])
    assert re.search(r"\[#+\] 9/9 .* in flight, 9 submitted", tail)


@pytest.mark.parametrize("second", [None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_every_stop_gives_the_terminal_back(
    worker: Programs, simulator: Simulator, url: str, second: int | None
) -> None:
    """A run that is stopped, or stopped twice, leaves a visible cursor and no traceback."""
    simulator.options = Options(script=dict.fromkeys(range(2, 6), "stall"))
    add_videos(url, 7)
    grace = 0.2 if second is None else 3 if second == signal.SIGHUP else 600
    program = await worker.start_on_terminal("drain", grace_seconds=grace, timeout_seconds=600)
    await held_back(program, simulator, 5)
    program.type(b"\x03")
    await program.printed("stopping: 4 in flight")
    if second is not None:
        program.signal(second)
    done = await program.ended()
    assert 130 == done.code
    assert {"submitted": 1, "in_doubt": 4, "pending": 2} == states(url)
    assert restored(done.out)
    assert "\x1b[?25l" in done.out
    assert "Traceback" not in done.out
    told = f"stopping: 4 in flight, whose answers are awaited for {grace:g} s at most; a second "
    assert f"{told}Ctrl-C" in plain(done.out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_daemon_gives_the_terminal_back(worker: Programs, url: str, number: int) -> None:
    """A daemon on a terminal has the same block, and gives the cursor back at any signal."""
    add_videos(url, 2)
    program = await worker.start_on_terminal("run")
    await program.printed("idle: nothing is due")
    program.signal(number)
    done = await program.ended()
    assert 128 + number == done.code
    assert (True, True) == (restored(done.out), "\x1b[?25l" in done.out)


async def test_a_stopped_terminal_stops_no_run(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """Ctrl-S stops what is shown, not what is handed in; Ctrl-Q shows the rest."""
    simulator.options = Options(script={2: "stall"})
    add_videos(url, 9)
    program = await worker.start_on_terminal("drain", concurrency=1)
    await held_back(program, simulator, 2)
    program.type(b"\x13")
    simulator.options = Options(latency_seconds=0.3)
    simulator.release()
    await simulator.wait_for_accepted(9)
    program.type(b"\x11")
    done = await program.ended()
    assert (0, True) == (done.code, restored(done.out))
    assert " 9/9 " in plain(done.out)


async def test_a_limited_bar_counts_to_its_limit(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A bar counts to the limit of its drain, or to what is due if that is less."""
    simulator.options = Options(latency_seconds=0.4)
    add_videos(url, 7)
    for limit, bar in (("5", "5/5"), ("9", "2/2")):
        done = await (await worker.start_on_terminal("drain", "--limit", limit)).ended()
        assert (0, True) == (done.code, f"] {bar} " in plain(done.out))
    assert 7 == len(simulator.accepted)


async def test_a_clock_runs_beside_a_full_bar(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """The clock of a block moves on while an answer is awaited, and nothing else is drawn."""
    simulator.options = Options(script={2: "stall"})
    add_videos(url, 2)
    program = await worker.start_on_terminal("drain", grace_seconds=0.2)
    await simulator.wait_for_requests(2)
    clocks = r"1/2 (0:\d\d:\d\d) "
    await until(lambda: len(set(re.findall(clocks, plain(program.out)))) > 2)
    drawn = re.findall(clocks, plain(program.out))
    assert 2 * len(set(drawn)) >= len(drawn)
    program.type(b"\x03")
    assert 130 == (await program.ended()).code


async def test_an_unreachable_api_is_told_on_a_terminal_once(worker: Programs, url: str) -> None:
    """A drain with a block says within seconds that no answer comes, and why."""
    add_videos(url, 3)
    with free_port() as port:
        address = f"http://127.0.0.1:{port}/core"
        program = await worker.start_on_terminal("drain", "--wait", api_url=address)
        await program.printed("no clear answer from http://127.0.0.1")
        program.type(b"\x03")
        done = await program.ended()
        assert (130, 1) == (done.code, done.out.count("no clear answer from"))
        # On a machine that is busy for two seconds the first request may not have ended.
        assert re.search("Connect call failed|no answer yet", plain(done.out))
        execute(url, "UPDATE videos SET due_at = ?", moment(600))
        done = await (await worker.start_on_terminal("drain", api_url=address)).ended()
        assert (75, 0) == (done.code, done.out.count("no clear answer from"))
        execute(url, "UPDATE videos SET due_at = CURRENT_TIMESTAMP")
        done = await (await worker.start_on_terminal("drain", api_url=address)).ended()
        assert (75, 1) == (done.code, done.out.count("no clear answer from"))
        assert "Connect call failed" in plain(done.out)


async def test_a_drain_that_waits_for_doubts_says_until_when(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain that waits for a doubt shows for what it waits, and until when."""
    simulator.options = Options(script={1: "lost"}, list_delay_seconds=600)
    add_videos(url, 1)
    program = await worker.start_on_terminal(
        "drain", "--wait", columns=200, on_doubt="reconcile", doubt_settle_seconds=600
    )
    await program.printed("asked about doubts at ")
    assert re.search(
        r"1 in doubt, .*waiting: the API's list of jobs is asked about doubts at \d{4}-",
        plain(program.out),
    )
    program.type(b"\x03")
    assert 130 == (await program.ended()).code


async def test_many_videos_are_bought_after_a_yes_alone(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """On a terminal a drain of many says what it would buy and asks; no claims nothing."""
    add_videos(url, 21)
    program = await worker.start_on_terminal("drain", "--rate", "7", max_per_day=30)
    await program.printed("buy 21 videos? [y/N]")
    shown = plain(program.out)
    for part in ("to buy 21 ", "from videos.example 21 ", "at this pace 3 s", "leaves 30 "):
        assert part in shown
    program.type(b"n\n")
    done = await program.ended()
    assert 1 == done.code
    assert "nothing was claimed; preflight names what is wasted, --limit N" in plain(done.out)
    assert {"pending": 21} == states(url)
    assert [] == simulator.requests
    program = await worker.start_on_terminal("drain", "--rate", "1000")
    await program.printed("[y/N]")
    program.type(b"y\n")
    assert 0 == (await program.ended()).code
    assert {"submitted": 21} == states(url)


async def test_many_videos_are_bought_unasked_where_that_is_said(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """Neither --yes nor a small --limit asks; no answer to the question is a no."""
    add_videos(url, 43)
    for words in (("--yes",), ("--limit", "20")):
        add_videos(url, 43)
        done = await (await worker.start_on_terminal("drain", "--rate", "1000", *words)).ended()
        assert (0, False) == (done.code, "[y/N]" in done.out)
    assert 106 == len(simulator.accepted)
    program = await worker.start_on_terminal("drain")
    await program.printed("[y/N]")
    program.type(b"\n")
    assert 1 == (await program.ended()).code


async def test_what_the_api_lists_is_in_the_question(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A fresh database beside a list with its videos is asked about, however few they are."""
    add_videos(url, 2)
    assert 0 == (await worker.run("drain")).code
    execute(url, "DELETE FROM history")
    execute(url, "UPDATE videos SET state = 'pending', job_id = NULL, claims = 0, attempts = 0")
    program = await worker.start_on_terminal("drain")
    await program.printed("buy 2 videos? [y/N]")
    assert "2 of the videos are in the API's list of jobs" in plain(program.out)
    program.type(b"\n")
    assert (1, 2) == ((await program.ended()).code, len(simulator.accepted))
