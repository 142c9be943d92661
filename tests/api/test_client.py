"""One exchange against real servers: the simulator, and scripted ones where it cannot do it."""

import asyncio
import gzip
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.wire import (
    LOOPBACK,
    NEVER_SECONDS,
    Line,
    Script,
    Wire,
    answer,
    free_port,
    full_backlog,
    job,
    narrow,
    read_all,
    self_signed,
    time_out,
    turned,
)
from worker.api.client import Api
from worker.api.transport import Transport
from worker.core import request
from worker.core.job_list import Listing, Unlisted
from worker.core.model import (
    Accepted,
    AccountRefused,
    Fact,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Released,
    Throttled,
    TryLater,
    Video,
    WrongAddress,
)
from worker.core.request import Defaults, Json
from worker.simulator import KINDS, Options, Simulator

KEY = "demo-key"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
BODY: Json = {"media": {"video": {"url": "https://videos.example/1.mp4"}}}
JOB = job("j-1")
BODY_LIMIT = 65_536
ROOT = Path(__file__).parents[2]


def client(
    url: str,
    *,
    key: str = KEY,
    slots: int = 1,
    connect: float = 5.0,
    timeout: float = 5.0,
    proxy: str | None = None,
) -> Api:
    """Return a client whose clock stands still."""
    transport = Transport(
        url=url,
        slots=slots,
        connect_timeout_seconds=connect,
        timeout_seconds=timeout,
        agent="valossa-ingest/test",
        proxy=proxy,
    )
    return Api(transport, key, lambda: NOW)


def numbered(name: str) -> Json:
    """Return a body that the simulator's book knows by this name."""
    return {
        "media": {
            "video": {"url": f"https://v.example/{name}"},
            "customer_media_info": {"id": name},
        }
    }


def go() -> None:
    """Allow the request to be sent."""


class Asked:
    """A check that allows every request and counts its calls."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        """Count one call."""
        self.times += 1


async def post(api: Api, body: Json = BODY) -> Outcome:
    """Hand in one job."""
    return await api.new_job(body, go)


def saying(*parts: bytes, reset: bool = False, stay: bool = False) -> Script:
    """Return a script: read the request, say the parts one after the other, then close. Where it
    is to ``stay``, stay silent until the client's time-out has ended the exchange.
    """

    async def script(line: Line) -> None:
        await line.request()
        for part in parts:
            line.say(part)
            await turned(3)
        if reset:
            line.reset()
        if stay:
            await time_out()
            await line.rest()

    return script


async def ended(script: Script, key: str = KEY) -> Outcome:
    """Return the outcome of one POST to such a server."""
    async with Wire(script) as wire, client(wire.url, timeout=NEVER_SECONDS, key=key) as api:
        return await post(api)


# --- What an answer means -------------------------------------------------------------------------


def expected_of(status: int) -> type[Outcome]:
    """Return the outcome table's line for a status with the documented error body."""
    by_status = {
        **dict.fromkeys((401, 402, 403), AccountRefused),
        **dict.fromkeys((404, 405, 407, 410, 421, 426), WrongAddress),
        **dict.fromkeys((303, 408, 409), InDoubt),
        **dict.fromkeys((425, 429), Throttled),
        **dict.fromkeys((500, 503), TryLater),
    }
    by_group = {2: InDoubt, 3: WrongAddress, 4: Refused, 5: InDoubt}
    return by_status.get(status) or by_group[status // 100]


async def test_every_status_has_its_outcome() -> None:
    """Every status ends in its outcome when a real server sends it."""
    statuses = range(200, 600)
    script = {number: str(status) for number, status in enumerate(statuses, start=1)}
    async with Simulator(Options(script=script)) as simulator, client(simulator.url) as api:
        outcomes = [await post(api) for _ in statuses]
    assert [expected_of(status) for status in statuses] == [type(each) for each in outcomes]
    assert list(statuses) == [each.status for each in outcomes]
    assert list(script.values()) == [each.kind for each in simulator.requests]


async def test_a_proxys_page_says_nothing_of_the_job() -> None:
    """A server error without the documented body is in doubt."""
    statuses = range(500, 600)
    script = {number: f"proxy-{status}" for number, status in enumerate(statuses, start=1)}
    async with Simulator(Options(script=script)) as simulator, client(simulator.url) as api:
        outcomes = [await post(api) for _ in statuses]
    assert [(InDoubt, status) for status in statuses] == [(type(o), o.status) for o in outcomes]


KIND_ENDS: dict[str, tuple[type[Outcome], int | None]] = {
    "close-idle": (Accepted, 200),
    "cut": (Accepted, 200),
    "echo-key": (Refused, 400),
    "garbage": (InDoubt, None),
    "half": (InDoubt, 200),
    "huge": (InDoubt, 200),
    "lost": (InDoubt, None),
    "lost-502": (InDoubt, 502),
    "lost-fin": (InDoubt, None),
    "no-id": (InDoubt, 200),
    "not-json": (InDoubt, 200),
    "redirect": (WrongAddress, 307),
    "reset": (InDoubt, None),
    "reset-early": (InDoubt, None),
    "same-id": (Accepted, 200),
    "stall": (InDoubt, None),
    "unasked": (Accepted, 200),
}


def test_every_kind_of_trouble_is_in_the_table() -> None:
    """Every trouble that the simulator knows is tested here."""
    assert {kind for kind in KINDS if "STATUS" not in kind} == set(KIND_ENDS)


@pytest.mark.parametrize(("kind", "end"), KIND_ENDS.items())
async def test_a_kind_of_trouble_has_its_outcome(
    kind: str, end: tuple[type[Outcome], int | None]
) -> None:
    """Each trouble of the simulator ends in the table's outcome, and the purchases are the reported
    ones.
    """
    options = Options(script={1: kind})
    async with (
        Simulator(options) as simulator,
        client(simulator.url, timeout=NEVER_SECONDS) as api,
    ):
        exchange = asyncio.create_task(post(api))
        if kind == "stall":
            await simulator.wait_for_requests(1)
            await time_out()
        outcome = await exchange
        assert end == (type(outcome), outcome.status)
        assert 1 == len(simulator.requests)
        assert [] == simulator.followed
        if isinstance(outcome, Accepted):
            assert [outcome.job_id] == [each.job_id for each in simulator.accepted]
        elif not isinstance(outcome, InDoubt):
            assert [] == simulator.accepted


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(JOB), JOB)

ACCEPTED = {
    "whole": saying(answer(JOB)),
    "another success": saying(answer(JOB, "299 Fine")),
    "in many parts": saying(*(bytes([byte]) for byte in answer(JOB))),
    "chunked": saying(CHUNKED + CHUNK + b"0\r\n\r\n"),
    "chunked without its end": saying(CHUNKED + CHUNK),
    "chunked, then reset": saying(CHUNKED + CHUNK, reset=True),
    # aiohttp tells the reader of a body nothing of a bad chunk: only the time-out ends that one.
    "chunked, then a bad chunk": saying(CHUNKED + CHUNK, b"zzz\r\n", stay=True),
    "cut": saying(answer(JOB, Content_Length="99")),
    "cut by a reset": saying(answer(JOB, Content_Length="99"), reset=True),
    "until the close": saying(b"HTTP/1.1 200 OK\r\n\r\n" + JOB),
    "until a reset": saying(b"HTTP/1.1 200 OK\r\n\r\n" + JOB, reset=True),
    "of HTTP/1.0": saying(b"HTTP/1.0 200 OK\r\n\r\n" + JOB),
    "without a reason": saying(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(JOB) + JOB),
    "after 100": saying(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(JOB)),
    "after 103": saying(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", answer(JOB)),
    "gzip in spite of identity": saying(answer(gzip.compress(JOB), Content_Encoding="gzip")),
    "gzip without its trailer": saying(answer(gzip.compress(JOB)[:-6], Content_Encoding="gzip")),
    "an encoding of no meaning": saying(answer(JOB, Content_Encoding="plain")),
    "with cookies of no meaning": saying(answer(JOB, Set_Cookie='a="\\777"; expires=x;;=')),
    "with a header of 9,000 bytes": saying(answer(JOB, X="x" * 9_000)),
    "with a header of 60,000 bytes": saying(answer(JOB, X="x" * 60_000)),
    "with 500 headers": saying(answer(JOB, **{f"X{n}": "x" for n in range(500)})),
    "with a reason of 9,000 bytes": saying(answer(JOB, f"200 {'x' * 9_000}")),
    "with a chunk extension": saying(CHUNKED + CHUNK.replace(b"\r", b";a=b\r", 1) + b"0\r\n\r\n"),
    "and chunk extensions without an end after it": saying(
        CHUNKED + CHUNK + b"1;" + b"x" * 900_000
    ),
    "and trailers without an end after it": saying(
        CHUNKED + CHUNK + b"0\r\n" + b"X: y\r\n" * 150_000
    ),
    "of exactly the limit": saying(answer(JOB.rjust(BODY_LIMIT))),
    "and more than the limit after it": saying(answer(JOB.ljust(BODY_LIMIT + 1))),
}


@pytest.mark.parametrize("script", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_job_id_is_read(script: Script) -> None:
    """A job id that came whole is read, however the answer ends."""
    outcome = await ended(script)
    assert isinstance(outcome, Accepted)
    assert "j-1" == outcome.job_id


HEAD_ONLY = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"

IN_DOUBT: dict[str, tuple[Script, int | None]] = {
    "nothing, closed": (saying(), None),
    "nothing, reset": (saying(reset=True), None),
    "nothing, silent": (saying(stay=True), None),
    "half a head": (saying(b"HTTP/1.1 200 OK\r\nContent-"), None),
    "half a head, silent": (saying(b"HTTP/1.1 200 OK\r\nContent-", stay=True), None),
    "a head alone": (saying(HEAD_ONLY), 200),
    "a head alone, reset": (saying(HEAD_ONLY, reset=True), 200),
    "a head alone, silent": (saying(HEAD_ONLY, stay=True), 200),
    "half a body": (saying(HEAD_ONLY + JOB[:5]), 200),
    "half a body, silent": (saying(HEAD_ONLY + JOB[:5], stay=True), 200),
    "an empty body": (saying(answer(b"")), 200),
    "204": (saying(b"HTTP/1.1 204 No Content\r\n\r\n"), 204),
    "204 with a body": (saying(answer(JOB, "204 No Content")), None),
    "101": (saying(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + JOB), 101),
    "101 alone": (saying(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), 101),
    "103, closed": (saying(b"HTTP/1.1 103 Early Hints\r\n\r\n"), None),
    "199, silent": (saying(b"HTTP/1.1 199 What\r\n\r\n", stay=True), None),
    "status 600": (saying(answer(JOB, "600 What")), 600),
    "status 999": (saying(answer(JOB, "999 What")), 999),
    "status 0": (saying(answer(JOB, "000 What")), 0),
    "status 99": (saying(answer(JOB, "99 What")), None),
    "status 1000": (saying(answer(JOB, "1000 What")), None),
    "408": (saying(answer(b"", "408 Request Timeout")), 408),
    "409": (saying(answer(b"", "409 Conflict")), 409),
    "303": (saying(answer(b"", "303 See Other", Location="/")), 303),
    "500 without the documented body": (saying(answer(b"", "500 Sorry")), 500),
    "503 without the documented body": (saying(answer(b"{}", "503 Sorry")), 503),
    "garbage": (saying(b"\0\xff\r\n\r\n"), None),
    "TLS": (saying(b"\x15\x03\x03\x00\x02\x02\x28"), None),
    "HTTP/2": (saying(b"HTTP/2 200\r\n\r\n"), None),
    "a length of no number": (saying(b"HTTP/1.1 400 Bad\r\nContent-Length: x\r\n\r\n"), None),
    "two lengths": (
        saying(b"HTTP/1.1 400 Bad" + 2 * b"\r\nContent-Length: 2" + b"\r\n\r\n{}"),
        None,
    ),
    "NUL in a header": (saying(b"HTTP/1.1 401 No\r\nX: \0\r\n\r\n"), None),
    "a huge header": (saying(b"HTTP/1.1 200 OK\r\nX: " + 70_000 * b"x" + b"\r\n\r\n"), None),
    "too many headers": (saying(b"HTTP/1.1 200 OK\r\n" + 50_000 * b"X: x\r\n" + b"\r\n"), None),
    "more than was announced": (saying(answer(JOB + b"more", Content_Length="18")), None),
    "a bad chunk with the good one": (saying(CHUNKED + CHUNK + b"zzz\r\n"), None),
    "heads before it without an end": (
        saying(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40_000, stay=True),
        None,
    ),
    "a head without an end": (saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 150_000), None),
    "a chunk extension without an end": (saying(CHUNKED + b"1;" + b"x" * 900_000, stay=True), 200),
    "chunks of nothing but extensions": (saying(CHUNKED + b"1;xxxxxxxxxx\r\n \r\n" * 60_000), 200),
    "a chunk size without an end": (saying(CHUNKED + b"0" * 900_000, stay=True), 200),
    "line ends without an end": (saying(b"\r\n" * 450_000, stay=True), None),
    "gzip that is none": (saying(answer(JOB, Content_Encoding="gzip")), 200),
    "an unknown compression": (saying(answer(JOB, Content_Encoding="br")), None),
    "not JSON": (saying(answer(b"accepted")), 200),
    "no object": (saying(answer(b'["job_id"]')), 200),
    "no text as job id": (saying(answer(b'{"job_id": 7}')), 200),
    "an empty job id": (saying(answer(b'{"job_id": " "}')), 200),
    "nested too deep": (saying(answer(b"[" * 60_000)), 200),
    "a huge integer": (saying(answer(b'{"job_id": %s}' % (b"9" * 5_000))), 200),
    "bytes that are no UTF-8": (saying(answer(b'{"job_id": "\xff"}')), 200),
    "more than the limit": (saying(answer(job("x" * BODY_LIMIT))), 200),
}


@pytest.mark.parametrize(("script", "status"), IN_DOUBT.values(), ids=IN_DOUBT)
async def test_what_nobody_can_know_is_a_doubt(script: Script, status: int | None) -> None:
    """An answer that tells nothing is in doubt, with the server's status."""
    outcome = await ended(script)
    assert (InDoubt, status) == (type(outcome), outcome.status)


CLEAR: dict[str, tuple[Script, Outcome]] = {
    "a documented refusal": (
        saying(answer(b'{"errors": [{"message": "Invalid value: x"}]}', "400 Bad Request")),
        Refused("HTTP 400: Invalid value: x", 400),
    ),
    "a refusal whose body breaks off": (
        saying(answer(b"Too la", "413 Too large", Content_Length="99")),
        Refused("HTTP 413: Too la", 413),
    ),
    "a refused key": (
        saying(answer(b"", "401 Unauthorized")),
        AccountRefused("HTTP 401, empty body", 401),
    ),
    "a redirect to nowhere": (
        saying(answer(b"", "302 Found", Location="http://[::bad?x")),
        WrongAddress("HTTP 302, empty body; it points to http://[::bad", 302),
    ),
    "429 with seconds": (
        saying(answer(b"slow", "429 Slow", Retry_After="2.5")),
        Throttled("HTTP 429: slow", 429, 2.5),
    ),
    "429 with a date, by the server's clock": (
        saying(
            answer(
                b"slow",
                "429 Slow",
                Date="Thu, 01 Jan 2026 09:00:00 GMT",
                Retry_After="Thu, 01 Jan 2026 09:00:30 GMT",
            )
        ),
        Throttled("HTTP 429: slow", 429, 30.0),
    ),
    "429 with a date, by our clock": (
        saying(answer(b"slow", "429 Slow", Retry_After="Thu, 01 Jan 2026 12:00:10 GMT")),
        Throttled("HTTP 429: slow", 429, 10.0),
    ),
    "429 without a time": (
        saying(answer(b"slow", "429 Slow")),
        Throttled("HTTP 429: slow", 429),
    ),
    "503 that names a time": (
        saying(answer(b"later", "503 Sorry", Retry_After="7")),
        TryLater("HTTP 503: later", 503, 7.0),
    ),
    "500 with the documented body": (
        saying(answer(b'{"errors": [{"message": "Sorry"}]}', "500 Sorry")),
        TryLater("HTTP 500: Sorry", 500),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "expected"), CLEAR.values(), ids=CLEAR)
async def test_a_clear_answer_is_read_as_it_is(script: Script, expected: Outcome) -> None:
    """Status, message and Retry-After of a clear answer are the server's."""
    assert expected == await ended(script)


async def test_the_end_of_a_huge_body_is_not_waited_for() -> None:
    """An exchange ends as soon as the limit of a body is read."""

    async def endless(line: Line) -> None:
        await line.request()
        line.say(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * (BODY_LIMIT + 1))
        await line.rest()

    outcome = await ended(endless)
    assert isinstance(outcome, Refused)
    assert 2_000 == len(outcome.message)


async def test_a_body_that_drips_is_cut_off_in_time() -> None:
    """A body that comes slowly does not outlast the time-out."""

    async def drip(line: Line) -> None:
        await line.request()
        line.say(b"HTTP/1.1 200 OK\r\n\r\n{")
        for _ in range(2):
            line.say(b" ")
            await time_out(NEVER_SECONDS * 0.6)
        while True:
            line.say(b" ")
            await turned(1)

    outcome = await ended(drip)
    assert InDoubt("success without a job id: HTTP 200: {", 200) == outcome


# --- What never left ------------------------------------------------------------------------------


async def not_sent(api: Api, body: Json = BODY) -> tuple[type[Outcome], int]:
    """Return the outcome of a POST there, and the calls of its last check."""
    asked = Asked()
    async with api:
        outcome = await api.new_job(body, asked)
    return type(outcome), asked.times


NOT_SENT = (NotSent, 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid",
        "http://.invalid",
        f"http://{'a' * 64}.invalid",
        "http://[::1",
        "http://127.1",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1",
        "no-address",
        "",
    ],
)
async def test_an_address_that_leads_nowhere_is_not_sent_to(url: str) -> None:
    """A name that cannot be resolved ends as not sent."""
    ended_in = await not_sent(client(url))
    assert NOT_SENT == ended_in


async def test_a_refused_connection_is_not_sent() -> None:
    """A closed port ends as not sent."""
    with free_port() as port:
        ended_in = await not_sent(client(f"http://{LOOPBACK}:{port}"))
    assert NOT_SENT == ended_in


async def test_tls_to_a_plain_port_is_not_sent() -> None:
    """A failed handshake ends as not sent."""

    async def plain(line: Line) -> None:
        line.say(b"220 ready\r\n")
        await line.rest()

    async with Wire(plain) as wire:
        ended_in = await not_sent(client(f"https://{LOOPBACK}:{wire.port}"))
    assert NOT_SENT == ended_in


async def test_an_untrusted_certificate_is_not_sent_to(tmp_path: Path) -> None:
    """A server with an untrusted certificate receives no request."""
    context, _ = self_signed(tmp_path)
    async with Wire(saying(answer(JOB)), tls=context) as wire:
        ended_in = await not_sent(client(wire.url))
        async with client(wire.url) as api:
            outcome = await post(api)
    assert NOT_SENT == ended_in
    assert "certificate verify failed: self-signed certificate" in (outcome.message or "")
    assert "(issued by localhost): SSL_CERT_FILE may name a file" in (outcome.message or "")


async def test_a_connection_that_does_not_come_about_is_not_sent() -> None:
    """A connect time-out ends as not sent, long before the exchange's own time-out."""
    async with asyncio.timeout(5):
        with full_backlog() as port:
            ended_in = await not_sent(client(f"http://{LOOPBACK}:{port}", connect=0.2, timeout=60))
    assert NOT_SENT == ended_in


async def test_a_wait_for_a_free_connection_is_not_sent() -> None:
    """A request that finds every connection busy ends as not sent."""
    options = Options(script={1: "stall", 2: "stall", 3: "stall"})
    async with (
        Simulator(options) as simulator,
        client(simulator.url, connect=60, timeout=NEVER_SECONDS) as api,
    ):
        beside = ("first", "on the connection for the list", "on that for questions about jobs")
        busy = [asyncio.create_task(post(api, numbered(each))) for each in beside]
        await simulator.wait_for_requests(3)
        waiting = asyncio.create_task(post(api, numbered("last")))
        await time_out(60)
        last = await waiting
        simulator.release()
        assert isinstance(last, NotSent)
        assert [Accepted] * 3 == [type(await each) for each in busy]
        assert "last" not in {each.request_id for each in simulator.requests}


async def test_a_body_that_cannot_be_written_is_not_sent() -> None:
    """A text that is no Unicode ends its own attempt as not sent."""
    async with Wire(saying(answer(JOB))) as wire:
        ended_in = await not_sent(client(wire.url), {"media": "\ud800"})
        assert [] == wire.lines
    assert NOT_SENT == ended_in


async def test_any_failure_has_an_outcome() -> None:
    """An unforeseen exception ends in an outcome."""

    def fail() -> None:
        raise ZeroDivisionError("odd")

    async with Wire(saying()) as wire, client(wire.url) as api:
        assert NotSent("not sent: ZeroDivisionError: odd") == await api.new_job(BODY, fail)


# --- The last check before the first byte ---------------------------------------------------------


async def test_a_withheld_request_leaves_nothing_on_the_wire() -> None:
    """Law 4: no byte of a withheld request reaches the server."""
    came: list[bytes] = []

    async def script(line: Line) -> None:
        came.append(await line.rest())

    async with Wire(script) as wire:
        async with client(wire.url) as api:
            assert Released("too late") == await api.new_job(BODY, lambda: "too late")
        await wire.wait_for_lines(1)
        await wire.served()
    assert [b""] == came


async def test_a_withheld_request_leaves_nothing_on_a_kept_connection() -> None:
    """No byte of a withheld request follows the one before it."""
    requests: list[bytes] = []

    async def script(line: Line) -> None:
        requests.append(await line.request())
        line.say(answer(JOB))
        requests.append(await line.rest())

    async with Wire(script) as wire:
        async with client(wire.url) as api:
            await post(api)
            assert Released("too late") == await api.new_job(BODY, lambda: "too late")
        await wire.served()
    assert [requests[0], requests[0]] == requests
    assert 1 == len(wire.lines)


async def test_it_is_asked_once() -> None:
    """The last check is called exactly once."""
    asked = Asked()
    async with Wire(saying(answer(JOB))) as wire, client(wire.url) as api:
        assert Accepted("j-1", 200) == await api.new_job(BODY, asked)
    assert 1 == asked.times


# --- The connection -------------------------------------------------------------------------------


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """Requests one after the other share one connection."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            line.say(answer(JOB))

    async with Wire(script) as wire, client(wire.url) as api:
        for _ in range(3):
            assert isinstance(await post(api), Accepted)
        assert 1 == len(wire.lines)


async def test_a_post_is_not_sent_again_on_a_new_connection() -> None:
    """Law 2: a POST whose kept connection dies under it is not repeated."""
    requests: list[bytes] = []

    async def script(line: Line) -> None:
        requests.append(await line.request())
        line.say(answer(JOB))
        requests.append(await line.request())
        line.reset()

    async with Wire(script) as wire, client(wire.url) as api:
        assert isinstance(await post(api), Accepted)
        assert isinstance(await post(api), InDoubt)
        assert (1, 2) == (len(wire.lines), len(requests))


async def test_a_connection_closed_while_idle_buys_nothing_twice() -> None:
    """A POST that meets the end of a kept connection is neither repeated nor called unsent."""
    names = [f"r-{number}" for number in range(60)]
    options = Options(failures={"close-idle": 1.0})
    async with Simulator(options) as simulator, client(simulator.url) as api:
        outcomes = {name: await post(api, numbered(name)) for name in names}
        booked = [each.request_id for each in simulator.accepted]
    assert len(booked) == len(set(booked))
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Accepted | InDoubt)
        assert isinstance(outcome, InDoubt) or name in booked


@pytest.mark.parametrize("turns", [0, 5])
async def test_the_end_of_an_idle_connection_is_seen_before_it_is_used(turns: int) -> None:
    """A connection that the server has closed is not used again."""
    idle, over = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(JOB))
        await idle.wait()
        line.end()
        over.set()

    async with Wire(script) as wire, client(wire.url) as api:
        assert isinstance(await post(api), Accepted)
        idle.set()
        await over.wait()
        await turned(turns)
        assert isinstance(await post(api), Accepted)
        assert 2 == len(wire.lines)


@pytest.mark.parametrize("turns", [0, 5])
async def test_an_answer_that_nobody_asked_for_is_nobodys(turns: int) -> None:
    """A second answer on an idle connection is not taken for the answer to the next request."""
    async with Simulator(Options(script={1: "unasked"})) as simulator, client(simulator.url) as api:
        await post(api, numbered("r-1"))
        await simulator.wait_until(lambda: bool(simulator.unasked))
        await turned(turns)
        outcome = await post(api, numbered("r-2"))
        assert ["r-1", "r-2"] == [each.request_id for each in simulator.accepted]
        assert Accepted(simulator.accepted[1].job_id, 200) == outcome


async def test_a_flood_on_an_idle_connection_ends_it() -> None:
    """A connection that receives bytes while it is idle is dropped: nothing is kept of them."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(JOB))
        await idle.wait()
        line.say(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)
        await line.rest()
        dropped.set()

    idle, dropped = asyncio.Event(), asyncio.Event()
    async with Wire(script) as wire, client(wire.url) as api:
        assert isinstance(await post(api), Accepted)
        idle.set()
        await dropped.wait()


async def test_half_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    """Half an unasked answer is not put before the answer to the next request."""
    half = answer(job("unasked"))[:40]

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(JOB))
        await idle.wait()
        line.say(half)
        spoken.set()
        await line.request()
        line.say(answer(JOB))

    idle, spoken = asyncio.Event(), asyncio.Event()
    async with Wire(script) as wire, client(wire.url) as api:
        assert isinstance(await post(api), Accepted)
        idle.set()
        await spoken.wait()
        assert Accepted("j-1", 200) == await post(api)
        assert 2 == len(wire.lines)


async def test_a_body_that_waits_in_the_kernel_is_never_delivered() -> None:
    """Bytes unsent at the time-out never arrive (SO_LINGER)."""
    big: Json = {"media": {"description": "x" * 900_000}}
    with narrow() as listening:
        url, leaves = f"http://{LOOPBACK}:{listening.getsockname()[1]}", asyncio.Event()
        async with client(url, timeout=NEVER_SECONDS) as api:
            exchange = asyncio.create_task(api.new_job(big, leaves.set))
            await leaves.wait()
            await time_out()
            outcome = await exchange
        received, in_good_order = await asyncio.to_thread(read_all, listening)
    assert InDoubt("sent, but no answer was read: TimeoutError") == outcome
    assert not in_good_order
    assert len(received) < 900_000


CHILD = """
import asyncio, os, sys
from datetime import datetime, UTC
from tests.wire import NEVER_SECONDS, MovableLoop, time_out
from worker.api.client import Api
from worker.api.transport import Transport

async def main(url, length, impatient):
    cuts = []

    def leave():
        if impatient:
            cuts.append(asyncio.create_task(time_out()))

    transport = Transport(url=url, slots=1, connect_timeout_seconds=60,
                          timeout_seconds=NEVER_SECONDS, agent="test",
                          proxy=os.environ.get("TEST_PROXY"))
    async with Api(transport, "demo-key", lambda: datetime.now(UTC)) as api:
        print(await api.new_job({"title": "x" * length}, leave), flush=True)
        await asyncio.to_thread(sys.stdin.read)

with asyncio.Runner(loop_factory=MovableLoop) as runner:
    runner.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"))
"""


async def child(
    url: str,
    environment: Mapping[str, str],
    *,
    length: int = 1,
    impatient: bool = False,
) -> asyncio.subprocess.Process:
    """Start a process that hands in one job, prints the outcome, and keeps its client open until
    its input ends. An impatient one reaches its time-out as soon as the request leaves.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, url, str(length), str(impatient)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


async def test_a_body_that_waits_behind_tls_is_never_delivered(tmp_path: Path) -> None:
    """Over TLS, bytes unsent at the time-out never arrive either."""
    context, trusted = self_signed(tmp_path)
    timed_out = asyncio.Event()
    received: list[bytes] = []

    async def script(line: Line) -> None:
        line.deaf()
        await timed_out.wait()
        line.hear()
        received.append(await line.rest())

    length = 8_000_000
    async with Wire(script, tls=context) as wire:
        trust = {"SSL_CERT_FILE": str(trusted)}
        process = await child(wire.url, trust, length=length, impatient=True)
        assert process.stdout is not None
        told = (await process.stdout.readline()).decode()
        timed_out.set()
        await wire.wait_for_lines(1)
        await wire.served()
        await process.communicate(b"")
    assert told.startswith("InDoubt(message='sent, but no answer was read: TimeoutError'")
    assert len(received[0]) < length


async def test_a_trusted_certificate_is_sent_to(tmp_path: Path) -> None:
    """A server with a trusted certificate receives the request."""
    context, trusted = self_signed(tmp_path)
    async with Wire(saying(answer(JOB)), tls=context) as wire:
        process = await child(wire.url, {"SSL_CERT_FILE": str(trusted)})
        told, _ = await process.communicate(b"")
    assert b"Accepted(job_id='j-1', status=200, message=None)\n" == told


async def test_proxies_of_the_environment_are_ignored(tmp_path: Path) -> None:
    """No proxy of the environment gets the key, and no .netrc adds a password."""
    (tmp_path / ".netrc").write_text(f"machine {LOOPBACK} login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    with free_port() as port:
        proxy = f"http://{LOOPBACK}:{port}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {**dict.fromkeys(names, proxy), "no_proxy": "", "HOME": str(tmp_path)}
        async with Wire(saying(answer(JOB))) as wire:
            process = await child(wire.url, environment)
            told, _ = await process.communicate(b"")
    assert b"Accepted(job_id='j-1', status=200, message=None)\n" == told
    assert b"authorization" not in wire.lines[0].received.lower()


def tunnel(port: int) -> Script:
    """Return a proxy that connects a CONNECT with this port, and hands on what comes."""

    async def script(line: Line) -> None:
        await line.request()
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        line.say(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def back() -> None:
            while data := await reader.read(65_536):
                line.say(data)

        going = asyncio.create_task(back())
        try:
            while data := await line.some():
                writer.write(data)
        finally:
            going.cancel()
            writer.transport.abort()
            await asyncio.gather(going, return_exceptions=True)

    return script


async def test_a_proxy_gets_a_connect_and_never_the_key(tmp_path: Path) -> None:
    """An https address is reached by CONNECT, with the proxy's own password; the rest is TLS."""
    context, trusted = self_signed(tmp_path)
    async with (
        Wire(saying(answer(JOB)), tls=context) as wire,
        Wire(tunnel(wire.port)) as proxy,
    ):
        environment = {
            "SSL_CERT_FILE": str(trusted),
            "TEST_PROXY": f"http://me:hunter22@{LOOPBACK}:{proxy.port}",
        }
        process = await child(wire.url, environment)
        told, _ = await process.communicate(b"")
        seen = proxy.lines[0].received
    assert b"Accepted(job_id='j-1', status=200, message=None)\n" == told
    assert seen.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % wire.port)
    assert b"Proxy-Authorization: Basic bWU6aHVudGVyMjI=\r\n" in seen
    assert b"demo-key" not in seen
    assert b"demo-key" in wire.lines[0].received


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 No", "502 No"])
async def test_a_proxy_that_refuses_is_named_without_its_password(status: str) -> None:
    """A refused CONNECT is not sent, and says where to look."""
    async with Wire(saying(answer(b"", status))) as wire:
        proxy = f"http://me:hunter22@{LOOPBACK}:{wire.port}"
        async with client("https://api.example", proxy=proxy) as api:
            told = "ClientHttpProxyError: the proxy answered HTTP " + status[:3]
            told += ": look at the setting proxy"
            assert NotSent(f"not sent: {told}") == await post(api)
            assert Unlisted(reason=told) == await api.list_jobs()


async def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    """A proxy that refuses connections ends as not sent."""
    with free_port() as port:
        proxy = f"http://me:hunter22@{LOOPBACK}:{port}"
        async with client("https://api.example", proxy=proxy) as api:
            outcome = await post(api)
    assert isinstance(outcome, NotSent)
    assert f"{LOOPBACK}:{port}" in outcome.message
    assert "hunter22" not in outcome.message


async def test_a_proxy_that_says_nothing_is_left_in_time() -> None:
    """A CONNECT without an answer lasts as long as a connection may take."""

    async def silent(line: Line) -> None:
        await line.rest()

    async with Wire(silent) as wire:
        proxy = f"http://{LOOPBACK}:{wire.port}"
        async with client("https://api.example", connect=NEVER_SECONDS, proxy=proxy) as api:
            exchange = asyncio.create_task(post(api))
            await wire.wait_for_lines(1)
            await time_out()
            assert isinstance(await exchange, NotSent)


async def test_a_request_in_the_clear_goes_past_the_proxy() -> None:
    """A local http address is asked directly: the proxy would read the key."""
    with free_port() as port:
        async with (
            Wire(saying(answer(JOB))) as wire,
            client(wire.url, proxy=f"http://{LOOPBACK}:{port}") as api,
        ):
            assert isinstance(await post(api), Accepted)


# --- The request ----------------------------------------------------------------------------------


async def test_the_request_is_the_documented_one() -> None:
    """The bytes of a request are those of new_job's documentation."""
    async with Wire(saying(answer(JOB))) as wire, client(wire.url) as api:
        await post(api, {"media": {"title": "Größe", "video": {"url": "https://v.example/1"}}})
    head, _, body = wire.lines[0].received.partition(b"\r\n\r\n")
    top, *fields = head.decode().split("\r\n")
    assert "POST /core/1.0/new_job HTTP/1.1" == top
    assert {
        "Host": f"{LOOPBACK}:{wire.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "valossa-ingest/test",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    } == dict(field.split(": ", 1) for field in fields)
    assert (
        '{"api_key": "demo-key", "media": {"title": "Größe", "video": '
        '{"url": "https://v.example/1"}}}'
    ) == body.decode()


async def test_a_video_with_everything_is_accepted_as_documented() -> None:
    """Every field of new_job is where worker/api/README.md, section 3, has it."""
    video = Video(
        url="https://videos.example/1.mp4",
        media_id="m-1",
        title="A title",
        description="A text",
        language="fi-FI",
        transcript_url="https://videos.example/1.srt",
        face_min_relative_height=0.25,
        face_gallery_id="g-1",
        email_group="users_with_access_to_api_key_results",
        callback_url="https://callback.example/1",
    )
    async with Simulator(Options()) as simulator, client(simulator.url) as api:
        outcome = await post(api, request.body(video, "m-1", Defaults()))
    assert isinstance(outcome, Accepted)
    assert {
        "media": {
            "video": {"url": "https://videos.example/1.mp4"},
            "transcript": {"url": "https://videos.example/1.srt"},
            "customer_media_info": {"id": "m-1"},
            "description": "A text",
            "title": "A title",
            "language": "fi-FI",
        },
        "analysis_parameters": {
            "face_min_relative_height": 0.25,
            "face_galleries": {"custom_gallery": {"id": "g-1"}},
        },
        "email_notification": {"to_group": "users_with_access_to_api_key_results"},
        "callback": {"url": "https://callback.example/1"},
    } == simulator.requests[0].body


async def test_no_cookie_is_sent_back() -> None:
    """A cookie of the server is not sent back."""

    async def script(line: Line) -> None:
        for _ in range(2):
            await line.request()
            line.say(answer(JOB, Set_Cookie="session=1; Path=/"))

    async with Wire(script) as wire, client(wire.url) as api:
        assert [Accepted, Accepted] == [type(await post(api)) for _ in range(2)]
    assert b"cookie" not in wire.lines[0].received.lower()


async def test_a_slash_at_the_end_of_the_address_is_no_part_of_it() -> None:
    """An address with a slash at its end leads to the same place."""
    async with Simulator(Options()) as simulator, client(f"{simulator.url}/") as api:
        assert isinstance(await post(api), Accepted)


# --- The key --------------------------------------------------------------------------------------

SECRET = "k/3y+ä&\"x'-42"

ECHOES: dict[str, bytes] = {
    "in the documented body": answer(
        json.dumps({"errors": [{"message": f"bad {SECRET}"}]}).encode(), "400 Bad"
    ),
    "JSON-escaped": answer(json.dumps({"api_key": SECRET}).encode(), "400 Bad"),
    "JSON-escaped with its slash": answer(
        json.dumps({"api_key": SECRET}).replace("/", "\\/").encode(), "400 Bad"
    ),
    "percent-encoded": answer(f"bad {quote(SECRET, safe='')}".encode(), "400 Bad"),
    "percent-encoded in small letters": answer(
        f"bad {quote(SECRET, safe='').lower()}".encode(), "502 Bad"
    ),
    "as it is": answer(f"bad {SECRET}".encode(), "401 Bad"),
    "in HTML": answer(
        b"<p>k/3y+\xc3\xa4&amp;&quot;x&#x27;-42</p>", "502 Bad", Content_Type="text/html"
    ),
    "in a success": answer(json.dumps({"job": SECRET}).encode()),
    "as a job id": answer(json.dumps({"job_id": f"job {SECRET}"}).encode()),
    "in place of HTTP": SECRET.encode() + b"\r\n\r\n",
    "in a bad header": b"HTTP/1.1 200 OK\r\n" + SECRET.encode() + b"\r\n\r\n",
    "in half a head": b"HTTP/1.1 200 OK\r\nX: " + SECRET.encode() + b"\r\nY: ",
    "in a length": b"HTTP/1.1 200 OK\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("said", ECHOES.values(), ids=ECHOES)
async def test_the_key_is_in_no_outcome(said: bytes) -> None:
    """Law 11: no part of an echoed key reaches an outcome."""
    outcome = await ended(saying(said), key=SECRET)
    told = f"{outcome.message} {outcome.job_id if isinstance(outcome, Accepted) else ''}"
    for part in (SECRET, "42", "k/3y", "3y", "%C3%A4", "%c3%a4", "\\u00e4"):
        assert part not in told


async def test_the_simulators_echo_of_the_key_is_blanked() -> None:
    """A refusal that repeats the key is shown with the key blanked."""
    async with (
        Simulator(Options(script={1: "echo-key"})) as simulator,
        client(simulator.url) as api,
    ):
        assert Refused("HTTP 400: Invalid value: api_key [key]", 400) == await post(api)


async def test_no_failure_to_connect_shows_the_key() -> None:
    """A failure to connect does not show the key."""
    with free_port() as port:
        async with client(f"http://{LOOPBACK}:{port}", key=SECRET) as api:
            outcome = await post(api)
    assert SECRET not in str(outcome)


async def test_unstorable_characters_do_not_get_through() -> None:
    """Law 14: NUL and lone surrogates in an answer are replaced."""
    odd = b'{"job_id": "j\\u0000-\\ud800"}'
    assert Accepted("j\ufffd-\ufffd", 200) == await ended(saying(answer(odd)))


# --- Cut short ------------------------------------------------------------------------------------


async def cut_short(exchange: asyncio.Task[Outcome]) -> Outcome:
    """Cancel the exchange and return its outcome; the task itself goes on."""
    exchange.cancel()
    outcome = await exchange
    assert not exchange.cancelled()
    assert 0 == exchange.cancelling()
    return outcome


async def test_cut_short_while_connecting_is_not_sent() -> None:
    """A stop while connecting ends as not sent."""
    with full_backlog() as port:
        async with client(f"http://{LOOPBACK}:{port}") as api:
            exchange = asyncio.create_task(post(api))
            await turned(20)
            outcome = await cut_short(exchange)
    assert NotSent("not sent: cut short by our own stop") == outcome


async def test_cut_short_while_waiting_is_in_doubt() -> None:
    """A stop after the request has left ends in doubt."""
    async with Simulator(Options(script={1: "stall"})) as simulator, client(simulator.url) as api:
        exchange = asyncio.create_task(post(api))
        await simulator.wait_for_requests(1)
        outcome = await cut_short(exchange)
    assert InDoubt("sent, but no answer was read: cut short by our own stop") == outcome


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (JOB, Accepted("j-1", 200)),
        (JOB[:5], InDoubt('success without a job id: HTTP 200: {"job', 200)),
    ],
)
async def test_cut_short_while_reading_keeps_what_was_read(part: bytes, expected: Outcome) -> None:
    """A stop keeps the bytes of the answer that were read."""
    said = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(part, Content_Length="99"))
        said.set()
        await line.rest()

    async with Wire(script) as wire, client(wire.url) as api:
        exchange = asyncio.create_task(post(api))
        await said.wait()
        await turned(20)
        outcome = await cut_short(exchange)
    assert expected == outcome


# --- The list of jobs -----------------------------------------------------------------------------


async def test_the_list_of_jobs_is_read_whole() -> None:
    """A list that comes in many parts is read whole."""
    async with Simulator(Options()) as simulator, client(simulator.url) as api:
        for number in range(1_000):
            await post(api, numbered(f"r-{number}"))
        shown = await api.list_jobs()
    assert isinstance(shown, Listing)
    assert {job.job_id for job in simulator.accepted} == {e.job_id for e in shown.entries}
    assert 1_000 == len([e for e in shown.entries if e.identifiers]) == len(shown.entries)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (answer(b"<html>"), Unlisted(reason="the answer is not JSON", lasting=True)),
        (
            answer(b"no such key: demo-key", "401 No"),
            Unlisted(
                reason="HTTP 401: no such key: [key]", lasting=True, fact=Fact.ACCOUNT_REFUSED
            ),
        ),
        (
            answer(b"{}", "302 Found", Location="/?x"),
            Unlisted(reason="HTTP 302: {}; it points to /", lasting=True, fact=Fact.WRONG_ADDRESS),
        ),
        (
            answer(b"no", "404 No"),
            Unlisted(reason="HTTP 404: no", lasting=True, fact=Fact.WRONG_ADDRESS),
        ),
        (
            answer(b"slow", "429 No", Retry_After="9"),
            Unlisted(reason="HTTP 429: slow", retry_after=9, fact=Fact.THROTTLED),
        ),
        (
            answer(b"busy", "503 No", Retry_After="9"),
            Unlisted(reason="HTTP 503: busy", retry_after=9, fact=Fact.TRY_LATER),
        ),
        (answer(b"proxy", "502 No"), Unlisted(reason="HTTP 502: proxy", fact=Fact.IN_DOUBT)),
        (answer(b"[]", Content_Length="99"), Unlisted(reason="ClientPayloadError")),
        (b"garbage demo-key\r\n\r\n", Unlisted(reason="HttpProcessingError: Bad status line")),
    ],
)
async def test_a_list_that_cannot_be_had_is_told_without_the_key(
    said: bytes, told: Unlisted
) -> None:
    """An answer that is no list is reported without the key."""
    async with Wire(saying(said)) as wire, client(wire.url) as api:
        assert told == await api.list_jobs()


async def test_a_list_takes_no_videos_place() -> None:
    """The list is read even with every slot in flight."""
    options = Options(script={1: "stall"})
    async with Simulator(options) as simulator, client(simulator.url) as api:
        first = asyncio.create_task(post(api, numbered("first")))
        await simulator.wait_for_requests(1)
        assert isinstance(await api.list_jobs(), Listing)
        simulator.release()
        await first


async def test_a_waiting_job_is_cancelled() -> None:
    """A waiting job is cancelled, and a refusal is returned."""
    async with Simulator(Options()) as simulator, client(simulator.url) as api:
        made = await post(api, numbered("r-1"))
        assert isinstance(made, Accepted)
        assert await api.cancel_job(made.job_id) is None
        told = await api.cancel_job("no-such-job")
    assert told is not None
    assert told.startswith("HTTP 404")
    assert await api_gone(simulator.url) is not None


async def api_gone(url: str) -> str | None:
    """Cancel a job where no server answers any more."""
    async with client(url) as api:
        return await api.cancel_job("job-1")
