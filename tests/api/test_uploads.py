"""The three steps of an upload against real servers: the imitation, and scripted ones."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from tests.conftest import Hands
from tests.wire import LOOPBACK, NEVER_SECONDS, Line, Script, Wire, answer, free_port, time_out
from worker.api.client import Api
from worker.api.transport import Transport
from worker.api.uploads import PIECE, ByteRate, UploadApi, uploading
from worker.core.model import (
    AccountRefused,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Throttled,
    TryLater,
    WrongAddress,
)
from worker.core.upload import Finished, Opened, Taken
from worker.simulator import Options, Simulator, Uploading

KEY = "demo-key"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
FAST = ByteRate(None, lambda: 0.0)


@asynccontextmanager
async def client(
    url: str, *, key: str = KEY, rate: ByteRate = FAST, seconds: float = 5.0
) -> AsyncIterator[UploadApi]:
    """Yield a client whose clock stands still."""
    transport = Transport(
        url=url,
        slots=1,
        connect_timeout_seconds=5.0,
        timeout_seconds=seconds,
        agent="valossa-ingest/test",
    )
    async with Api(transport, key, lambda: NOW) as own, uploading(own, key, rate) as api:
        yield api


@asynccontextmanager
async def scripted(script: Script, **options: object) -> AsyncIterator[UploadApi]:
    """Yield a client of a server that follows a script."""
    async with Wire(script) as wire, client(wire.url, **options) as api:  # type: ignore[arg-type]
        yield api


def saying(data: bytes) -> Script:
    """Answer each request of a connection with these bytes."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(data)

    return script


async def test_a_file_is_uploaded_by_three_steps() -> None:
    """Chunks of the size that the API names, each with its index; the whole has its hash."""
    data = os.urandom(3 * PIECE)
    options = Options(uploads=Uploading(chunk_bytes=PIECE + 1))
    async with Simulator(options) as simulator, client(simulator.url + "/") as api:
        begun = await api.initialize(len(data))
        assert isinstance(begun, Opened)
        assert PIECE + 1 == begun.chunk_size
        for index in (2, 0, 1):
            part = data[index * begun.chunk_size :][: begun.chunk_size]
            assert Taken() == await api.send_chunk(begun.upload_id, index, memoryview(part))
        ended = await api.finalize(begun.upload_id)
        (upload,) = simulator.uploads.finished
        assert Finished(upload.url) == ended
        assert hashlib.sha256(data).hexdigest() == upload.sha256


async def test_a_request_is_a_form_of_known_length() -> None:
    """The key is a form field and nowhere else; the name of the file stays here."""
    seen: list[bytes] = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        line.say(answer(b"{}"))

    async with scripted(script) as api:
        assert Taken() == await api.send_chunk("u-1", 5, memoryview(b"\r\n\0bytes"))
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /core/1.0/send_file_chunk HTTP/1.1\r\n")
    assert b"User-Agent: valossa-ingest/test" in head
    assert KEY.encode() not in head
    fields = re.findall(rb'name="([^"]+)"[^\r]*\r\n', body)
    assert [b"api_key", b"upload_id", b"chunk_index", b"file_data"] == fields
    for value in (KEY.encode(), b"u-1", b"5", b"\r\n\0bytes"):
        assert b"\r\n\r\n" + value + b"\r\n--" in body


KINDS: dict[str, type[Outcome]] = {
    "400": Refused,
    "401": AccountRefused,
    "404": WrongAddress,
    "429": Throttled,
    "500": TryLater,
    "proxy-502": InDoubt,
    "redirect": WrongAddress,
    "reset": InDoubt,
    "lost": InDoubt,
    "lost-fin": InDoubt,
    "half": InDoubt,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["initialize", "chunk", "finalize"])
async def test_a_kind_of_trouble_has_its_outcome(step: str, kind: str) -> None:
    """Each step ends in an outcome, whatever the network or the server does; none is repeated."""
    options = Options(uploads=Uploading(chunk_bytes=5, script={step: {1: kind}}))
    async with Simulator(options) as simulator, client(simulator.url) as api:
        told: object = await api.initialize(5)
        if step != "initialize":
            assert isinstance(told, Opened)
            upload_id = told.upload_id
            told = await api.send_chunk(upload_id, 0, memoryview(b"01234"))
        if step == "finalize":
            told = await api.finalize(upload_id)
        assert KINDS[kind] is type(told)
        assert 1 == sum(request.step == step for request in simulator.uploads.requests)


@pytest.mark.parametrize("kind", ["doubled", "empty", "not-json"])
async def test_a_chunk_that_was_answered_by_200_is_taken(kind: str) -> None:
    """A 200 means received, whatever it says; what comes unasked is no answer to the next one."""
    options = Options(uploads=Uploading(chunk_bytes=5, script={"chunk": {1: kind}}))
    async with Simulator(options) as simulator, client(simulator.url) as api:
        begun = await api.initialize(10)
        assert isinstance(begun, Opened)
        assert Taken() == await api.send_chunk(begun.upload_id, 0, memoryview(b"01234"))
        assert Taken() == await api.send_chunk(begun.upload_id, 1, memoryview(b"56789"))
        assert isinstance(await api.finalize(begun.upload_id), Finished)


@pytest.mark.parametrize("kind", ["several", "other-scheme", "empty", "not-json"])
async def test_an_odd_end_is_told_by_its_shape(kind: str) -> None:
    """Law 16: the status says that it went well, the message what came in place of an address."""
    options = Options(uploads=Uploading(chunk_bytes=5, script={"finalize": {1: kind}}))
    async with Simulator(options) as simulator, client(simulator.url) as api:
        begun = await api.initialize(5)
        assert isinstance(begun, Opened)
        await api.send_chunk(begun.upload_id, 0, memoryview(b"01234"))
        told = await api.finalize(begun.upload_id)
    assert isinstance(told, InDoubt)
    assert 200 == told.status
    assert "finalize_file_upload answered" in told.message


async def test_nobody_there_is_certain() -> None:
    """No server has taken it, so it was not sent."""
    with free_port() as port:
        async with client(f"http://{LOOPBACK}:{port}") as api:
            assert isinstance(await api.initialize(5), NotSent)


async def test_the_time_of_a_pause_is_read() -> None:
    """A 429 says how long all shall wait."""
    refused = answer(b"{}", "429 Too Many Requests", Retry_After="7")
    async with scripted(saying(refused)) as api:
        assert Throttled("HTTP 429: {}", 429, 7.0) == await api.finalize("u-1")


@pytest.mark.parametrize(
    "body",
    [
        b'{"upload_id": "x-demo-key-x", "file_chunk_size_bytes": 5, "url": "valossaupload://x"}',
        b'{"upload_id": "x", "demo-key": 5, "a": "valossaupload://demo-key"}',
    ],
)
async def test_no_answer_brings_the_key_into_the_table(body: bytes) -> None:
    """Law 11: an id or an address with the key in it is none, and no message shows it."""
    async with scripted(saying(answer(body))) as api:
        for told in (await api.initialize(5), await api.finalize("u-1")):
            assert KEY not in repr(told)
    async with scripted(saying(answer(b"no " + KEY.encode(), "400 Bad Request"))) as api:
        assert Refused("HTTP 400: no [key]", 400) == await api.send_chunk("u", 0, memoryview(b"x"))
    assert KEY not in repr(api)


async def silent(line: Line) -> None:
    """Take the request, and say nothing."""
    await line.request()
    await line.rest()


async def deaf(line: Line) -> None:
    """Take nothing."""
    line.deaf()
    await line.rest()


async def endless(line: Line) -> None:
    """Begin an answer that never ends."""
    await line.request()
    line.say(answer(b"{", Content_Length="100"))
    await line.rest()


@pytest.mark.parametrize(("script", "size"), [(silent, 5), (endless, 5), (deaf, 64 << 20)])
async def test_a_server_that_stands_still_ends_the_request(script: Script, size: int) -> None:
    """Law: each piece, and the answer, has a time; the request as a whole has none."""
    async with Wire(script) as wire, client(wire.url, seconds=NEVER_SECONDS) as api:
        asking = asyncio.create_task(api.send_chunk("u", 0, memoryview(bytes(size))))
        await wire.wait_for_lines(1)
        while not asking.done():
            await asyncio.sleep(0.05)
            await time_out()
        assert isinstance(asking.result(), InDoubt)


async def dripping(line: Line) -> None:
    """Say again and again that an answer will come."""
    await line.request()
    while True:
        line.say(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.initialize(5),
        lambda api: api.send_chunk("u", 0, memoryview(b"x")),
        lambda api: api.finalize("u"),
    ],
    ids=["initialize", "chunk", "finalize"],
)
async def test_a_server_that_only_promises_an_answer_ends_the_request(
    ask: Callable[[UploadApi], Coroutine[None, None, object]],
) -> None:
    """The wait for a connection and an answer has one end, whatever a proxy says meanwhile."""
    async with Wire(dripping) as wire, client(wire.url, seconds=NEVER_SECONDS) as api:
        asking = asyncio.create_task(ask(api))
        await wire.wait_for_lines(1)
        for _ in range(4):
            await asyncio.sleep(0.1)
            await time_out(NEVER_SECONDS / 2)
        await asyncio.sleep(0.1)
        assert asking.done()
        assert isinstance(asking.result(), InDoubt)


async def test_an_answer_is_read_only_so_far() -> None:
    """A huge body costs no memory; the status says enough."""
    async with scripted(saying(answer(b" " * 1_000_000))) as api:
        assert Taken() == await api.send_chunk("u", 0, memoryview(b"x"))


def test_a_slow_link_takes_a_piece_in_its_time() -> None:
    """One of 5 kB/s, by the default of ``timeout_seconds``."""
    assert 60 * 5_000 > PIECE


def test_bytes_have_a_pace_of_their_own(hands: Hands) -> None:
    """Pieces follow each other at the rate; one that is late makes good a twentieth of a second."""
    rate = ByteRate(100_000, hands.clock.monotonic)
    assert 5_000 == rate.piece
    assert [0.0, 0.0] == [rate.wait(5_000), rate.wait(5_000)]
    assert pytest.approx(0.05) == rate.wait(5_000)
    hands.pass_seconds(10)
    assert [0.0, 0.0] == [rate.wait(5_000), rate.wait(5_000)]
    assert pytest.approx(0.05) == rate.wait(5_000)
    assert (PIECE, 0.0) == (FAST.piece, FAST.wait(10**9))
    assert PIECE == ByteRate(10**9, hands.clock.monotonic).piece
    assert 50 == ByteRate(1_000, hands.clock.monotonic).piece


async def test_a_chunk_is_written_at_the_pace() -> None:
    """All tasks share the pace, and every byte of a chunk counts."""
    waited: list[int] = []

    class Counted(ByteRate):
        def wait(self, size: int) -> float:
            waited.append(size)
            return 0.0

    rate = Counted(10_000, lambda: 0.0)
    async with scripted(saying(answer(b"{}")), rate=rate) as api:
        assert Taken() == await api.send_chunk("u", 0, memoryview(bytes(1_250)))
    assert [500, 500, 250] == waited


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "202 Accepted"])
async def test_only_a_200_is_a_success(status: str) -> None:
    """Other successes are not documented."""
    async with scripted(saying(answer(b"", status))) as api:
        assert isinstance(await api.finalize("u"), InDoubt)
