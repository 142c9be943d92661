"""A run shows itself without a terminal: as lines, as JSON Lines, or when it is asked."""

import json
import signal

import pytest

from tests.processes.programs import Ended, Programs, add_videos, execute
from tests.wire import free_port
from worker.simulator import Limit, Options, Simulator

pytestmark = pytest.mark.slow


def documents(done: Ended) -> list[dict[str, object]]:
    """Return the JSON Lines of the display."""
    rows = (json.loads(line) for line in done.err.splitlines() if line.startswith("{"))
    return [row for row in rows if "kind" in row]


async def test_a_pipe_gets_the_log_alone(worker: Programs, url: str) -> None:
    """Without a terminal nothing but the log is said, unless it is asked for."""
    add_videos(url, 2)
    done = await worker.run("drain")
    assert (0, []) == (done.code, done.sentences)
    assert 2 == len(done.events("attempt_ended"))


@pytest.mark.parametrize("wanted", ["lines", "live"])
async def test_lines_begin_and_end_a_run(
    worker: Programs, simulator: Simulator, url: str, wanted: str
) -> None:
    """Lines are said at the beginning and at the end, in place of the log; a block needs a
    terminal.
    """
    simulator.options = Options(latency_seconds=1.4)
    add_videos(url, 2)
    done = await worker.run("drain", "--progress", wanted)
    assert (0, []) == (done.code, done.lines)
    first, last = done.sentences
    assert first.startswith("valossa-ingest: 0/2 0:00:0")
    assert last.startswith("valossa-ingest: nothing is due; 2/2 0:00:0")
    assert "; bought 2, perhaps 0 more, 2 today; last answer accepted, video 2" in last


async def test_json_lines_have_a_kind(worker: Programs, simulator: Simulator, url: str) -> None:
    """``json`` says the same as one document a line: its status, and at the end its summary."""
    simulator.options = Options(latency_seconds=1.4)
    add_videos(url, 2)
    done = await worker.run("drain", "--progress", "json", "--json")
    assert 0 == done.code
    status, summary = documents(done)
    assert ("status", 2, 0) == (status["kind"], status["left"], status["counts"]["submitted"])  # type: ignore[index]
    assert ("summary", "nothing is due") == (summary["kind"], summary["end"])
    assert ({"submitted": 2, "failed": 0, "in_doubt": 0, "postponed": 0}, 0) == (
        summary["counts"],
        summary["left"],
    )
    assert done.told["submitted"] == 2


@pytest.mark.parametrize("wanted", ["none", "lines", "json"])
async def test_a_signal_asks_for_a_line(
    worker: Programs, simulator: Simulator, url: str, wanted: str
) -> None:
    """SIGUSR1 has one line said at once, whatever the display is, and stops nothing."""
    simulator.options = Options(script={2: "stall"})
    add_videos(url, 3)
    program = await worker.start("drain", concurrency=1, progress=wanted, log_level="info")
    await program.logged("attempt_ended")
    await simulator.wait_for_requests(2)
    program.signal(signal.SIGUSR1)
    await program.said("1 submitted" if wanted != "json" else '"submitted": 1')
    simulator.release()
    done = await program.ended()
    assert 0 == done.code


@pytest.mark.parametrize("wanted", ["none", "lines", "json"])
async def test_an_unreachable_api_is_told_in_every_display(
    worker: Programs, url: str, wanted: str
) -> None:
    """A run says within five seconds that no clear answer comes, and why."""
    add_videos(url, 1)
    with free_port() as port:
        address = f"http://127.0.0.1:{port}/core"
        program = await worker.start("run", api_url=address, progress=wanted)
        said = await program.said("no clear answer from http://127.0.0.1")
        assert "Connect call failed" in said
        program.signal(signal.SIGTERM)
        assert 143 == (await program.ended()).code


async def test_a_slowed_run_is_not_called_silent(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """An API that asks for less is not said to give no clear answer; the display names it."""
    simulator.options = Options(limit=Limit(1, 50))
    add_videos(url, 2)
    done = await worker.run("drain", "--wait", "--max-seconds", "4", progress="lines")
    assert (75, 2) == (done.code, len(simulator.requests))
    assert "no clear answer" not in done.err
    assert "last answer throttled: HTTP 429" in done.sentences[-2]


async def test_a_drain_of_one_shows_its_video(worker: Programs, url: str) -> None:
    """``drain --limit 1`` shows the video, its address without the query, and its job."""
    add_videos(url, 1)
    done = await worker.run("drain", "--limit", "1", "--json")
    video = {name: done.told[name] for name in ("video", "media_id", "answer")}
    assert {"video": 1, "media_id": None, "answer": "accepted"} == video
    assert str(done.told["url"]).startswith("https://videos.example/")
    assert done.told["job_id"]


@pytest.mark.parametrize(
    ("words", "level"), [(("--progress", "json"), None), ((), "warning"), ((), None)]
)
async def test_the_page_of_a_daemon_is_told_once(
    worker: Programs, words: tuple[str, ...], level: str | None
) -> None:
    """The link to sign in with stands in the log; where the log leaves it out, beside it."""
    listen = ("--listen", "127.0.0.1:0")
    program = await worker.start("run", *listen, *words, log_level=level)
    await program.said("/sign-in?code=")
    program.kill()
    told = (await program.ended()).err
    assert 1 == told.count("/sign-in?code=")
    assert bool(words or level) is not ("page_opened" in told)


async def test_status_is_watched_on_a_terminal(worker: Programs, url: str) -> None:
    """``status --watch`` draws a terminal anew from its top, and Ctrl-C ends it cleanly."""
    add_videos(url, 1)
    program = await worker.start_on_terminal("status", "--watch")
    await program.printed("not running: 1 due")
    add_videos(url, 1)
    out = await program.printed("not running: 2 due")
    assert out.startswith("\x1b[H\x1b[2J")
    program.type(b"\x03")
    done = await program.ended()
    assert (130, False, False) == (done.code, "\x1b[?" in done.out, "Traceback" in done.out)


@pytest.mark.parametrize("columns", [100, 50])
async def test_a_watched_status_begins_with_its_verdict(
    worker: Programs, url: str, columns: int
) -> None:
    """On a low terminal the end of ``status --watch`` is cut, and its verdict stays in sight."""
    add_videos(url, 3)
    execute(url, "UPDATE videos SET state = 'in_doubt', claims = 1 WHERE id < 3")
    program = await worker.start_on_terminal("status", "--watch", columns=columns, lines=6)
    shown = (await program.printed("\n…\r\n")).partition("\x1b[H\x1b[2J")[2]
    assert (True, 5) == (shown.startswith("not running: 1 due"), shown.count("\n"))
    program.type(b"\x03")
    assert 130 == (await program.ended()).code


async def test_status_is_watched_through_a_pipe(worker: Programs, url: str) -> None:
    """``status --watch`` without a terminal prints block after block."""
    add_videos(url, 1)
    program = await worker.start("status", "--watch")
    await program.printed("not running: 1 due")
    add_videos(url, 1)
    out = await program.printed("not running: 2 due")
    program.signal(signal.SIGINT)
    assert (130, False) == ((await program.ended()).code, "\x1b" in out)
    assert "\n\nnot running: " in out
