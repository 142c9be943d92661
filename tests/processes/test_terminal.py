import re

from tests.processes.programs import Programs, add_videos, states
from worker.simulator import Options, Simulator


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
