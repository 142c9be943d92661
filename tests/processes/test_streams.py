import pytest

from tests.processes.programs import Programs, add_videos, states
from worker.simulator import Simulator

REDIRECT = """\
import os, sys
number, where = int(sys.argv[1]), sys.argv[2]
read, write = os.pipe()
os.close(read)
os.dup2(write if where == "unread" else os.open("/dev/full", os.O_WRONLY), number)
os.close(write)
if where == "closed":
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "worker", *sys.argv[3:]])
"""
"""Python that becomes the program with a stream that takes nothing: of a full disk, of a reader
that has gone, or none at all.
"""


async def led(worker: Programs, number: int, where: str, *command: str) -> tuple[int, str]:
    """Run a command with a stream redirected; return its code and its other output."""
    redirected = ("-c", REDIRECT, str(number), where)
    done = await worker.run(*command, program=redirected)
    return done.code, done.err if number == 1 else done.out


@pytest.mark.parametrize("where", ["full", "unread", "closed"])
async def test_a_log_that_cannot_be_written_ends_nobody(
    worker: Programs, simulator: Simulator, url: str, where: str
) -> None:
    """A drain whose log cannot be written submits every video and ends with 0."""
    add_videos(url, 9)
    code, out = await led(worker, 2, where, "drain")
    assert 0 == code
    assert "submitted  9" in out
    assert {"submitted": 9} == states(url)
    assert 9 == len(simulator.accepted)


@pytest.mark.parametrize(
    ("where", "code", "told"),
    [("full", 1, ["valossa-ingest: standard output: No space left on device"])]
    + [(where, 0, []) for where in ("unread", "closed")],
)
@pytest.mark.parametrize("command", ["list", "export"])
async def test_a_result_that_cannot_be_written_is_told(
    worker: Programs, url: str, command: str, where: str, code: int, told: list[str]
) -> None:
    """A result that cannot be written ends its command with 1 and one sentence.

    A reader that closes the pipe early is no error.
    """
    add_videos(url, 1_000)
    ended, said = await led(worker, 1, where, command)
    assert (code, told) == (ended, said.splitlines())


@pytest.mark.parametrize("where", ["full", "unread", "closed"])
async def test_a_drain_without_an_output_ends_with_its_own_code(
    worker: Programs, simulator: Simulator, url: str, where: str
) -> None:
    """A drain whose output cannot be written ends with the code of the run."""
    simulator.options = type(simulator.options)(script={1: "500"})
    add_videos(url, 1)
    code, _ = await led(worker, 1, where, "drain")
    assert 75 == code
    assert {"pending": 1} == states(url)


@pytest.mark.parametrize(
    ("unbuffered", "out"), [("1", "said\n"), (None, "")], ids=["unbuffered", "buffered"]
)
async def test_a_container_shows_what_is_said_at_once(
    worker: Programs, unbuffered: str | None, out: str
) -> None:
    """With PYTHONUNBUFFERED, output is written at once."""
    code = (
        "import os; from worker.cli import streams; streams.prepare(); print('said'); os._exit(0)"
    )
    variables = {"PYTHONUNBUFFERED": unbuffered}
    assert out == (await worker.run(program=("-c", code), variables=variables)).out


async def test_a_help_that_cannot_be_written_is_told(worker: Programs) -> None:
    """A help text that cannot be written ends with 1 and one sentence."""
    told = "valossa-ingest: standard output: No space left on device\n"
    assert (1, told) == await led(worker, 1, "full", "--help")
    assert (0, "") == await led(worker, 1, "unread", "--help")
