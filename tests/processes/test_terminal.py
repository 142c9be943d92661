import re

from tests.processes.programs import Programs, add_videos, execute, states, until
from tests.wire import free_port
from worker.simulator import Options, Simulator


def plain(shown: str) -> str:
    """Return the text on a terminal without its colours and line ends."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))


async def test_a_terminal_shows_the_progress_of_a_drain(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """On a terminal a drain shows a bar until it is full, then the counts, and the cursor again."""
    simulator.options = Options(latency_seconds=0.05)
    add_videos(url, 7)
    program = await worker.start_on_terminal("drain")
    done = await program.ended()
    assert 0 == done.code
    assert {"submitted": 7} == states(url)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.out)
    assert re.search(r"submitting\s+\S+\s+7/7\s", shown)
    assert "0 failed, 0 in doubt, 0 postponed" in shown
    assert "submitted  7\r\n" in shown
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h")
    assert done.out.endswith("\n")
    for noise in ("Traceback", "attempt_ended", "{"):
        assert noise not in shown


async def test_ctrl_c_on_a_terminal_ends_the_bar_cleanly(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """An interrupted bar leaves no traceback and a visible cursor."""
    simulator.options = Options(script=dict.fromkeys(range(2, 6), "stall"))
    add_videos(url, 7)
    program = await worker.start_on_terminal("drain", grace_seconds=0.2)
    await simulator.wait_for_requests(5)
    program.type(b"\x03")
    done = await program.ended()
    assert 130 == done.code
    assert {"submitted": 1, "in_doubt": 4, "pending": 2} == states(url)
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h")
    assert "Traceback" not in done.out
    told = "stopping: 4 in flight, whose answers are awaited for 0.2 s at most; a second Ctrl-C"
    assert told in plain(done.out)


async def test_a_limited_bar_counts_to_its_limit(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A bar counts to the limit of its drain, or to what is due if that is less."""
    add_videos(url, 7)
    for limit, bar in (("5", "5/5"), ("9", "2/2")):
        program = await worker.start_on_terminal("drain", "--limit", limit)
        done = await program.ended()
        assert (0, True) == (done.code, bar in done.out)
    assert 7 == len(simulator.accepted)


async def test_a_clock_runs_beside_a_full_bar(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """The clock of a full bar moves on while a video that came later awaits its answer."""
    simulator.options = Options(script={2: "stall"})
    add_videos(url, 1)
    program = await worker.start_on_terminal("drain", "--wait", grace_seconds=0.2)
    add_videos(url, 1)
    await simulator.wait_for_requests(2)
    await until(lambda: len(set(re.findall(r"1/[12] (0:\d\d:\d\d)", plain(program.out)))) > 1)
    program.type(b"\x03")
    assert 130 == (await program.ended()).code


async def test_an_unreachable_api_is_told_on_a_terminal_once(worker: Programs, url: str) -> None:
    """A drain with a bar says within seconds that no answer comes, and why."""
    add_videos(url, 3)
    with free_port() as port:
        address = f"http://127.0.0.1:{port}/core"
        program = await worker.start_on_terminal("drain", "--wait", api_url=address)
        await program.printed("no clear answer from http://127.0.0.1")
        program.type(b"\x03")
        done = await program.ended()
        assert (130, 1) == (done.code, done.out.count("no clear answer from"))
        assert "Connect call failed" in plain(done.out)
        done = await (await worker.start_on_terminal("drain", api_url=address)).ended()
        assert (75, 0) == (done.code, done.out.count("no clear answer from"))
        execute(url, "UPDATE videos SET due_at = CURRENT_TIMESTAMP")
        done = await (await worker.start_on_terminal("drain", api_url=address)).ended()
        assert (75, 1) == (done.code, done.out.count("no clear answer from"))
