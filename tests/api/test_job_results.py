import gzip
import zlib

import pytest

from tests.parts import Worker
from tests.wire import Line, Wire, answer, free_port, time_out
from worker.core.results import Undelivered

KEY = "key-4711/&+"
CORE = b'{"job_info": {"job_id": "j"}}' + b" " * 200_000
CUT = "the answer was cut off"


async def ask(url: str, kind: str = "core", job_id: str = "j") -> tuple[Undelivered | None, bytes]:
    """Return what the client says of a result, and what it handed on."""
    taken = bytearray()
    async with Worker(key=KEY).api(url) as api:
        return await api.job_results(job_id, kind, taken.extend), bytes(taken)


async def asked(said: bytes, kind: str = "core") -> tuple[Undelivered | None, bytes]:
    """Return the same of a server that says this and closes."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(said)

    async with Wire(script) as wire:
        return await ask(wire.url, kind)


async def failure(said: bytes, kind: str = "core") -> Undelivered:
    """Return why such an answer is no result."""
    got, _ = await asked(said, kind)
    assert got is not None
    assert KEY not in repr(got)
    assert "api_key" not in repr(got)
    return got


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n" % (len(body), body) + end


async def test_the_question_names_key_job_and_type_in_the_query() -> None:
    """The question is a GET with the key, the job and the type, each escaped."""
    seen = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        line.say(answer(CORE))

    async with Wire(script) as wire:
        assert (None, CORE) == await ask(wire.url, job_id="a b&c=d")
    first = seen[0].split(b"\r\n")[0].decode()
    begin = "GET /core/1.0/job_results?api_key=key-4711/%26%2B&job_id=a+b%26c%3Dd&type=core"
    assert f"{begin} HTTP/1.1" == first
    assert b"\r\nAccept-Encoding: identity\r\n" in seen[0]


ZIPPED = gzip.compress(CORE)


@pytest.mark.parametrize(
    "said",
    [
        answer(CORE),
        chunked(CORE),
        answer(ZIPPED, **{"Content-Encoding": "gzip"}),
        answer(zlib.compress(CORE), **{"Content-Encoding": "deflate"}),
        answer(CORE, **{"Content-Encoding": "identity"}),
    ],
)
async def test_a_result_comes_however_it_is_sent(said: bytes) -> None:
    """A result is the same with a length, in chunks, to the end of the connection, compressed."""
    assert (None, CORE) == await asked(said)


@pytest.mark.parametrize("said", [answer(CORE)[:-1], chunked(CORE, b""), chunked(CORE)[:-9]])
@pytest.mark.parametrize("kind", ["core", "speech_to_text_srt"])
async def test_an_answer_that_is_cut_is_no_result(said: bytes, kind: str) -> None:
    """An answer that ends before its end is a failure that counts."""
    assert Undelivered(reason=f"{CUT}: ClientPayloadError") == await failure(said, kind)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_cannot_be_decompressed_is_no_result(coding: str) -> None:
    """Bytes that are not what their header says are a failure that counts."""
    got = await failure(answer(b"no gzip", **{"Content-Encoding": coding}))
    assert got.reason.startswith(CUT)
    assert got.spent


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "core"),
        (answer(ZIPPED[:-9], **{"Content-Encoding": "gzip"}), "speech_to_text_srt"),
    ],
)
async def test_an_answer_that_does_not_show_its_end_is_no_result(said: bytes, kind: str) -> None:
    """A result that may be cut without a sign of it is none."""
    expected = Undelivered(reason="it does not show its end")
    assert expected == await failure(said, kind)


async def test_a_page_is_not_the_results_fault() -> None:
    """A page in its place says nothing about the result: the API is in trouble, or a proxy."""
    got = await failure(answer(b"<p>", Content_Type="text/html"))
    assert Undelivered(reason="it is a page", spent=False, outage=True) == got


ERROR = b'{"errors": [{"message": "no"}]}'


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(ERROR, "404 Not Found"), Undelivered(reason="HTTP 404: no")),
        (answer(ERROR, "400 Bad"), Undelivered(reason="HTTP 400: no")),
        (
            answer(ERROR, "500 Oops"),
            Undelivered(reason="HTTP 500: no", spent=False, outage=True),
        ),
        (
            answer(b"", "502 Bad"),
            Undelivered(reason="HTTP 502, empty body", spent=False, outage=True),
        ),
        (answer(ERROR, "401 No"), Undelivered(reason="HTTP 401: no", spent=False, refused=True)),
        (
            answer(ERROR, "429 Slow", **{"Retry-After": "7"}),
            Undelivered(reason="HTTP 429: no", spent=False, retry_after=7.0),
        ),
        (
            answer(ERROR, "429 Slow"),
            Undelivered(reason="HTTP 429: no", spent=False, retry_after=1.0),
        ),
        (
            answer(ERROR, "503 Later", **{"Retry-After": "9"}),
            Undelivered(reason="HTTP 503: no", spent=False, retry_after=9.0),
        ),
        (
            answer(gzip.compress(ERROR), "400 Bad", **{"Content-Encoding": "gzip"}),
            Undelivered(reason="HTTP 400: no"),
        ),
        (
            answer(b"", "307 Moved", Location="https://e.example/?api_key=" + KEY),
            Undelivered(
                reason="HTTP 307, empty body; it points to https://e.example/",
                spent=False,
                outage=True,
            ),
        ),
        (
            answer(f"<title>{KEY}</title>".encode(), "400 Bad"),
            Undelivered(reason="HTTP 400: [key]:"),
        ),
    ],
)
async def test_each_other_answer_has_a_clear_outcome(said: bytes, expected: Undelivered) -> None:
    """Each status has an outcome with the API's words, without the key; none is followed."""
    assert expected == await failure(said)


async def test_a_long_refusal_is_not_read_to_its_end() -> None:
    """Of a refusal some kilobytes are read, and none of it becomes a result."""
    got, taken = await asked(answer(b"x" * 5_000_000, "400 Bad"))
    assert got is not None
    assert 500 == len(got.reason)
    assert b"" == taken


async def test_what_never_reached_the_api_does_not_count() -> None:
    """A connection that is refused, or closed without an answer, is not the result's fault."""
    with free_port() as port:
        got, _ = await ask(f"http://127.0.0.1:{port}/core/1.0")
    assert got is not None
    assert not got.spent
    assert not (await failure(b"")).spent
    assert not (await failure(b"no HTTP at all\r\n\r\n")).spent


@pytest.mark.parametrize("began", [False, True])
async def test_silence_ends_it_and_slowness_does_not(began: bool) -> None:  # noqa: FBT001
    """The time-out is of the wait for the next bytes, not of the whole."""

    async def script(line: Line) -> None:
        await line.request()
        if began:
            line.say(answer(CORE)[:-50])
        await time_out()

    async with Wire(script) as wire:
        got, _ = await ask(wire.url)
    assert got is not None
    assert began == got.spent == got.reason.startswith(CUT)


async def test_a_slow_answer_may_take_longer_than_the_time_out() -> None:
    """An answer that comes byte by byte is a result, even if it takes long in all."""

    async def script(line: Line) -> None:
        await line.request()
        for byte in answer(CORE.strip()):
            line.say(bytes([byte]))
            await time_out(0.9)

    async with Wire(script) as wire:
        taken = bytearray()
        async with Worker(key=KEY, timeout_seconds=1.0).api(wire.url) as api:
            assert None is await api.job_results("j", "core", taken.extend)
    assert CORE.strip() == taken


async def test_an_answer_has_an_hour() -> None:
    """An answer that never ends, however lively, is cut off after an hour."""
    pauses = 0

    async def script(line: Line) -> None:
        nonlocal pauses
        await line.request()
        line.say(answer(CORE)[:-50])
        while pauses < 10:
            pauses += 1
            await time_out(900)
            line.say(b" ")
        await time_out()

    async with Wire(script) as wire, Worker(key=KEY, timeout_seconds=1_000.0).api(wire.url) as api:
        got = await api.job_results("j", "core", lambda _: None)
    assert Undelivered(reason=f"{CUT}: TimeoutError") == got
    assert 4 <= pauses <= 5


async def test_what_the_taker_raises_is_raised() -> None:
    """A fault of the disk is none of the network."""

    class DiskError(Exception):
        pass

    def refuse(_: bytes) -> None:
        raise DiskError

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(CORE))

    async with Wire(script) as wire, Worker(key=KEY).api(wire.url) as api:
        with pytest.raises(DiskError):
            await api.job_results("j", "core", refuse)


async def test_a_compressed_answer_is_handed_on_in_pieces() -> None:
    """Bytes that blow up a thousand times are never held whole."""
    sizes = []
    body = gzip.compress(b" " * 20_000_000 + b"{}")

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(body, **{"Content-Encoding": "gzip"}))

    async with Wire(script) as wire, Worker(key=KEY).api(wire.url) as api:
        assert None is await api.job_results("j", "core", lambda part: sizes.append(len(part)))
    assert 20_000_002 == sum(sizes)
    assert max(sizes) <= 1_000_000
