import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.notify.receiver import receiving
from worker.notify import senders

BODY = b'{"state": "stalled"}'
HERE = {"PATH": os.environ["PATH"], "WHERE": "here"}


def python(code: str) -> str:
    """Return a command line that runs this code."""
    return f'{sys.executable} -c "{code}"'


async def test_a_command_gets_the_document_on_its_input(tmp_path: Path) -> None:
    """A command gets the document, and the environment that it is given."""
    file = tmp_path / "a name with spaces"
    code = "import os,sys; open(sys.argv[1], 'w').write(sys.stdin.read() + os.environ['WHERE'])"
    assert None is await senders.run(f"{python(code)} '{file}'", BODY, HERE)
    assert f"{BODY.decode()}here" == file.read_text()


async def test_a_command_that_reads_nothing_is_no_failure() -> None:
    """A command need not read its input, however long that is."""
    assert None is await senders.run("true", BODY * 100_000, HERE)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "exit code 1"),
        (python("import sys; print('x' * 100000, file=sys.stderr); sys.exit(7)"), "exit code 7"),
        ("/nowhere/notify --now", "No such file or directory"),
        ("/etc", "Permission denied"),
    ],
)
async def test_a_command_that_fails_says_why(command: str, reason: str) -> None:
    """A failing command is one reason, whatever it prints."""
    assert reason == await senders.run(command, BODY, HERE)


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """A command that does not end in time is killed, and so is what it has started."""
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    code = f"import os, time; f = open('{tmp_path}/alive', 'w'); os.fork(); time.sleep(600)"
    sending = asyncio.create_task(senders.run(python(code), BODY, HERE, 0.5))
    assert "killed after 0.5 s" == await sending
    os.set_blocking(reading, True)
    assert b"" == os.read(reading, 1)  # its end: nobody has it open for writing any more
    os.close(reading)


async def test_a_command_is_killed_when_the_run_is_over(tmp_path: Path) -> None:
    """A cancelled notice leaves no process behind."""
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    opens = f"f = open('{tmp_path}/alive', 'w'); print(1, file=f, flush=True)"
    code = f"import time; {opens}; time.sleep(600)"
    sending = asyncio.create_task(senders.run(python(code), BODY, HERE))
    heard = asyncio.Event()
    asyncio.get_running_loop().add_reader(reading, heard.set)
    await heard.wait()
    asyncio.get_running_loop().remove_reader(reading)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    os.set_blocking(reading, True)
    assert b"1\n" == os.read(reading, 10)
    assert b"" == os.read(reading, 1)
    os.close(reading)


async def test_an_address_gets_the_document() -> None:
    """A POST carries the document as JSON; every 2xx is well."""
    async with receiving(204) as receiver:
        assert None is await senders.request("POST", receiver.url, BODY)
        assert ["POST /hook/s3cr3t-path?token=s3cr3t-token"] == receiver.paths
        assert [BODY.decode()] == receiver.bodies


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_another_answer_is_a_failure(status: int) -> None:
    """A redirect is not followed: a POST would become a GET."""
    async with receiving(status) as receiver:
        assert f"HTTP {status}" == await senders.request("POST", receiver.url, BODY)
        assert 1 == len(receiver.paths)


async def test_a_receiver_that_does_not_answer_in_time_is_a_failure() -> None:
    """A receiver that takes the document and answers nothing is left."""
    async with receiving(slow=True) as receiver:
        assert "no answer within 0.5 s" == await senders.request("POST", receiver.url, BODY, 0.5)


async def test_a_dead_receiver_is_a_failure_that_names_no_path() -> None:
    """A refused connection is told with host and port, never with path and query."""
    async with receiving() as receiver:
        url = receiver.url
    reason = await senders.request("POST", url, BODY)
    assert reason is not None
    assert "127.0.0.1" in reason
    assert "s3cr3t" not in reason


@pytest.mark.parametrize(
    "url", ["http://h:99999/s3cr3t", "https://[/s3cr3t", "http://\udc80/s3cr3t"]
)
async def test_an_address_that_is_none_is_a_failure_that_names_no_path(url: str) -> None:
    """A failure of the library is told by its kind alone."""
    reason = await senders.request("POST", url, BODY)
    assert reason
    assert "s3cr3t" not in reason
