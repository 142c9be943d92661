"""Every kind of trouble, as a client sees it on the wire."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import pytest

from worker.simulator import Options, Simulator, faults

Body = dict[str, object]
MakeBody = Callable[..., Body]
Raw = Callable[..., Awaitable[bytes]]
Head = Callable[..., bytes]
Connect = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail every test here in which trouble made to order left a trace on stderr or in a log."""
    yield
    assert [] == caplog.get_records("call")
    assert "" == capfd.readouterr().err


def meeting(*kinds: str) -> Simulator:
    """Return a simulator whose first requests meet these kinds."""
    return Simulator(Options(script=dict(enumerate(kinds, start=1))))


async def post(client: aiohttp.ClientSession, url: str, body: Body) -> tuple[int, str]:
    """Hand in one video; return status and text of the answer."""
    async with client.post(f"{url}/new_job", json=body, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_every_status_is_on_the_wire(raw: Raw, make_body: MakeBody) -> None:
    """Each number from 100 to 599 arrives as that status, with the documented body."""
    statuses = range(100, 600)
    async with meeting(*map(str, statuses)) as simulator:
        for status in statuses:
            answer = await raw(simulator.url, make_body(), Connection="close")
            top, _, body = answer.partition(b"\r\n\r\n")
            assert top.startswith(f"HTTP/1.1 {status} ".encode())
            assert (status == 429) == (b"Retry-After: 1" in top)
            if status < 200 or status in {204, 304}:
                assert b"" == body
            else:
                assert [["message"]] == [list(each) for each in json.loads(body)["errors"]]
        assert [] == simulator.accepted
        assert list(map(str, statuses)) == [request.kind for request in simulator.requests]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_proxy_answers_in_html(
    client: aiohttp.ClientSession, make_body: MakeBody, status: int
) -> None:
    """A page in place of the documented body is what a client gets from a proxy."""
    async with (
        meeting(f"proxy-{status}") as simulator,
        client.post(f"{simulator.url}/new_job", json=make_body()) as answer,
    ):
        assert status == answer.status
        assert "text/html" == answer.content_type
        assert "Retry-After" not in answer.headers
        assert "<html>" in await answer.text()
        assert [] == simulator.accepted


async def test_retry_after_comes_with_any_status(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A status that names a wait does so beside the documented body."""
    async with (
        meeting("retry-after-503") as simulator,
        client.post(f"{simulator.url}/new_job", json=make_body()) as answer,
    ):
        assert (503, "1") == (answer.status, answer.headers["Retry-After"])
        assert {"errors": [{"message": "Service Unavailable"}]} == await answer.json()
        assert [] == simulator.accepted


async def test_a_page_after_the_purchase(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Behind a proxy's 502 there can be a job."""
    async with meeting("lost-502") as simulator:
        status, text = await post(client, simulator.url, make_body())
        assert 502 == status
        assert "<html>" in text
        assert 1 == len(simulator.accepted)


async def test_a_redirect_followed_is_on_record(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A client that follows a redirect with its body is found out, and buys nothing."""
    async with meeting("redirect", "redirect") as simulator:
        assert (307, "") == await post(client, simulator.url, make_body())
        assert [] == simulator.followed
        async with client.post(f"{simulator.url}/new_job", json=make_body("r-2")) as answer:
            assert 404 == answer.status
        assert ["r-2"] == [request.request_id for request in simulator.followed]
        assert 2 == len(simulator.requests)
        assert [] == simulator.accepted


@pytest.mark.parametrize(("kind", "told"), [("no-id", "{}"), ("not-json", "accepted\n")])
async def test_a_success_without_an_id(
    client: aiohttp.ClientSession, make_body: MakeBody, kind: str, told: str
) -> None:
    """A 200 can leave out the id of a job that exists."""
    async with meeting(kind) as simulator:
        assert (200, told) == await post(client, simulator.url, make_body())
        assert 1 == len(simulator.accepted)


async def test_the_same_id_is_told_twice(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Two jobs exist under ids of their own, and both answers name the first."""
    async with meeting("same-id", "same-id") as simulator:
        told = [
            json.loads((await post(client, simulator.url, make_body(name)))[1])["job_id"]
            for name in ("r-1", "r-2")
        ]
        first, second = simulator.accepted
        assert [first.job_id] * 2 == told
        assert first.job_id != second.job_id


@pytest.mark.parametrize(("kind", "bought"), [("lost", 1), ("reset", 0)])
async def test_a_reset_in_place_of_an_answer(
    raw: Raw, make_body: MakeBody, kind: str, bought: int
) -> None:
    """The request was read whole and the connection reset; whether a job exists is not told."""
    async with meeting(kind) as simulator:
        with pytest.raises(ConnectionResetError):
            await raw(simulator.url, make_body())
        assert ["r-1"] == [request.request_id for request in simulator.requests]
        assert bought == len(simulator.accepted)


async def test_a_reset_before_the_body(connect: Connect, head: Head) -> None:
    """The connection is reset although the body was never sent."""
    async with meeting("reset-early") as simulator:
        reader, writer = await connect(simulator.url)
        writer.write(head(100))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert [("reset-early", None)] == [(each.kind, each.body) for each in simulator.requests]
        assert [] == simulator.accepted


async def test_a_close_in_place_of_an_answer(raw: Raw, make_body: MakeBody) -> None:
    """The connection ends in good order, and not one byte of an answer came."""
    async with meeting("lost-fin") as simulator:
        assert b"" == await raw(simulator.url, make_body())
        assert 1 == len(simulator.accepted)


async def test_half_an_answer(raw: Raw, make_body: MakeBody) -> None:
    """The head promises more than comes, and what comes is no whole JSON."""
    async with meeting("half") as simulator:
        top, body = _parted(await raw(simulator.url, make_body()))
        whole = json.dumps({"job_id": simulator.accepted[0].job_id})
        assert f"Content-Length: {len(whole)}" in top
        assert whole[: len(whole) // 2] == body


async def test_a_whole_answer_cut_off(raw: Raw, make_body: MakeBody) -> None:
    """The JSON is complete although the head promises more."""
    async with meeting("cut") as simulator:
        top, body = _parted(await raw(simulator.url, make_body()))
        assert {"job_id": simulator.accepted[0].job_id} == json.loads(body)
        assert f"Content-Length: {len(body) + 16}" in top


async def test_no_http_at_all(raw: Raw, make_body: MakeBody) -> None:
    """The answer is not HTTP, and yet a job exists."""
    async with meeting("garbage") as simulator:
        answer = await raw(simulator.url, make_body())
        assert answer
        assert not answer.startswith(b"HTTP/")
        assert 1 == len(simulator.accepted)


async def test_a_huge_answer(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """One MiB of JSON comes, and its id is at the very end."""
    async with meeting("huge") as simulator:
        status, text = await post(client, simulator.url, make_body())
        assert (200, 1024 * 1024) == (status, len(text))
        assert text.endswith(f'"job_id": "{simulator.accepted[0].job_id}"}}')


async def test_a_kept_connection_closed(raw: Raw, make_body: MakeBody) -> None:
    """The answer is whole and does not announce the close that follows it."""
    async with meeting("close-idle") as simulator:
        top, body = _parted(await raw(simulator.url, make_body()))
        assert {"job_id": simulator.accepted[0].job_id} == json.loads(body)
        assert f"Content-Length: {len(body)}" in top
        assert "close" not in top


async def test_an_answer_that_nobody_asked_for(
    connect: Connect, head: Head, make_body: MakeBody
) -> None:
    """After the answer a second one comes on the same connection, with an id that is no job's."""
    async with meeting("unasked") as simulator:
        reader, writer = await connect(simulator.url)
        data = json.dumps(make_body()).encode()
        writer.write(head(len(data)) + data)
        answered, unasked = await _read_id(reader), await _read_id(reader)
        assert [simulator.accepted[0].job_id] == [answered]
        assert [unasked] == simulator.unasked
        assert unasked != answered
        writer.write(head(len(data)) + data)
        later = await _read_id(reader)
        assert [answered, later] == [job.job_id for job in simulator.accepted]


async def test_nothing_unasked_is_said_to_a_client_that_left(
    connect: Connect, head: Head, make_body: MakeBody
) -> None:
    """An id that went to nobody is not on the list of unasked ids."""
    async with meeting("unasked", "unasked") as simulator:
        reader, writer = await connect(simulator.url)
        data = json.dumps(make_body()).encode()
        writer.write(head(len(data), Connection="close") + data)
        await reader.read()
        await _talk(connect, simulator.url, head(len(data)) + data)
        assert 1 == len(simulator.unasked)


async def _talk(connect: Connect, url: str, data: bytes) -> list[str]:
    reader, writer = await connect(url)
    writer.write(data)
    return [await _read_id(reader), await _read_id(reader)]


async def test_a_stall_ends_when_released(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Every held request goes on at a release, and later ones are held anew."""
    async with meeting("stall", "stall", "stall") as simulator:
        held = [
            asyncio.create_task(post(client, simulator.url, make_body(f"r-{number}")))
            for number in (1, 2)
        ]
        await simulator.wait_for_accepted(2)
        assert [False, False] == [task.done() for task in held]
        simulator.release()
        told = {json.loads(text)["job_id"] for _, text in await asyncio.gather(*held)}
        assert {job.job_id for job in simulator.accepted} == told
        later = asyncio.create_task(post(client, simulator.url, make_body("r-3")))
        await simulator.wait_for_accepted(3)
        assert 200 == (await post(client, simulator.url, make_body("r-4")))[0]
        assert not later.done()
        simulator.release()
        assert 200 == (await later)[0]


async def test_a_stop_ends_a_stall(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """A held client is answered when the server stops, and the stop does not hang."""
    async with meeting("stall") as simulator:
        held = asyncio.create_task(post(client, simulator.url, make_body()))
        await simulator.wait_for_accepted(1)
    assert 200 == (await held)[0]


async def test_a_client_that_leaves_a_stall_has_bought(
    connect: Connect, head: Head, make_body: MakeBody
) -> None:
    """A client that leaves undoes no purchase, and its answer is no error."""
    async with meeting("stall") as simulator:
        _, writer = await connect(simulator.url)
        data = json.dumps(make_body()).encode()
        writer.write(head(len(data)) + data)
        await simulator.wait_for_accepted(1)
        writer.transport.abort()
        simulator.release()
    assert 1 == len(simulator.accepted)


async def test_a_key_echoed(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """The message of the refusal holds the key that was sent, and the records do not."""
    async with meeting("echo-key") as simulator:
        status, text = await post(client, simulator.url, make_body(key="secret-key"))
        assert 400 == status
        assert "secret-key" in json.loads(text)["errors"][0]["message"]
        assert "secret-key" not in repr(simulator.requests)
        assert [] == simulator.accepted


@pytest.mark.parametrize("kind", sorted(faults.BOUGHT))
async def test_trouble_buys_nothing_that_the_api_would_refuse(
    client: aiohttp.ClientSession, make_body: MakeBody, kind: str
) -> None:
    """A wrong key is refused as such, whatever trouble the purchase would have met."""
    async with meeting(kind) as simulator:
        assert 401 == (await post(client, simulator.url, make_body(key="wrong")))[0]
        assert [None] == [request.kind for request in simulator.requests]
        assert [] == simulator.accepted


async def test_a_client_that_breaks_off_is_no_error(
    connect: Connect, head: Head, make_body: MakeBody
) -> None:
    """A request that never came whole is on record, without a body, and bought nothing."""
    async with Simulator(Options()) as simulator:
        _, writer = await connect(simulator.url)
        data = json.dumps(make_body()).encode()
        writer.write(head(len(data)) + data[:20])
        await writer.drain()
        writer.close()
        await simulator.wait_for_requests(1)
        assert [None] == [request.body for request in simulator.requests]
        assert [] == simulator.accepted


async def test_a_client_gone_before_a_reset_is_no_error(
    connect: Connect, head: Head, make_body: MakeBody
) -> None:
    """Trouble for a connection that is gone already is none."""
    async with meeting("lost") as simulator:
        simulator.options = Options(script={1: "lost"}, latency_seconds=0.05)
        _, writer = await connect(simulator.url)
        data = json.dumps(make_body()).encode()
        writer.write(head(len(data)) + data)
        await simulator.wait_for_accepted(1)
        writer.transport.abort()
    assert 1 == len(simulator.accepted)


def _parted(answer: bytes) -> tuple[str, str]:
    top, _, body = answer.decode().partition("\r\n\r\n")
    return top, body


async def _read_id(reader: asyncio.StreamReader) -> str:
    top = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        int(line.split(": ")[1]) for line in top.splitlines() if line.startswith("Content-Length")
    )
    return str(json.loads(await reader.readexactly(length))["job_id"])
