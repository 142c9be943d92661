"""Uploads: chunks in any order, their hash on the book, and every kind of trouble."""

import asyncio
import io
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from worker.simulator import UPLOAD_KINDS, Options, Simulator, Uploading, parse_upload_failures
from worker.simulator.upload_kinds import KINDS, Step
from worker.simulator.uploads import PATHS, book_of_uploads, read_uploads

CHUNK = 1_000
DATA = random.Random(7).randbytes(4 * CHUNK + 123)
MISSING = {"errors": [{"message": "Upload not found"}]}


@dataclass(frozen=True)
class Api:
    """The endpoints as a client sees them."""

    session: aiohttp.ClientSession
    url: str

    async def post(
        self, step: Step, fields: Mapping[str, object], data: bytes | None = None
    ) -> tuple[int, Mapping[str, object]]:
        """Post a form, the file last; return status and answer."""
        named = {"api_key": "demo-key"} | {name: str(value) for name, value in fields.items()}
        form = aiohttp.FormData(named, default_to_multipart=True)
        if data is not None:
            form.add_field("file_data", io.BytesIO(data), filename="chunk")
        async with self.session.post(f"{self.url}/{PATHS[step]}", data=form) as answer:
            return answer.status, await answer.json(content_type=None)

    async def begin(self, size: int = len(DATA)) -> str:
        """Begin an upload; return its id."""
        status, answer = await self.post(Step.INITIALIZE, {"file_size_bytes": size})
        assert 200 == status
        return str(answer["upload_id"])

    async def send(
        self, upload_id: str, index: int, data: bytes | None = None
    ) -> tuple[int, Mapping[str, object]]:
        """Send a chunk, by default that of DATA."""
        part = DATA[index * CHUNK :][:CHUNK] if data is None else data
        return await self.post(Step.CHUNK, {"upload_id": upload_id, "chunk_index": index}, part)

    async def finish(self, upload_id: str) -> tuple[int, Mapping[str, object]]:
        """Finalize."""
        return await self.post(Step.FINALIZE, {"upload_id": upload_id})


@pytest.fixture
def api(client: aiohttp.ClientSession) -> Callable[[Simulator], Api]:
    """Return a way to speak with a simulator."""
    return lambda simulator: Api(client, simulator.url)


def small(**more: object) -> Options:
    """Return options with small chunks."""
    return Options(uploads=Uploading(chunk_bytes=CHUNK, **more))  # type: ignore[arg-type]


def scripted(step: Step, kind: str) -> Options:
    """Return options by which the first request of a step meets that trouble."""
    return small(script={step: {1: kind}})


async def test_an_upload_is_booked_with_its_hash(
    api: Callable[[Simulator], Api], tmp_path: Path
) -> None:
    """Three steps make an address of the upload; the book has its size and the hash of all bytes,
    after a restart too, and a job is made of it.
    """
    options = Options(book=tmp_path / "book", uploads=Uploading(chunk_bytes=CHUNK))
    async with Simulator(options) as simulator:
        mine = api(simulator)
        status, begun = await mine.post(Step.INITIALIZE, {"file_size_bytes": len(DATA)})
        assert (200, CHUNK) == (status, begun["file_chunk_size_bytes"])
        upload_id = str(begun["upload_id"])
        assert 5 * [(200, {})] == [await mine.send(upload_id, index) for index in range(5)]
        status, answer = await mine.finish(upload_id)
        (upload,) = simulator.uploads.finished
        assert (200, {"uploaded_file_url": upload.url}) == (status, answer)
    assert (len(DATA), sha256(DATA).hexdigest()) == (upload.size_bytes, upload.sha256)
    assert upload.url.startswith("valossaupload://")
    assert [upload] == read_uploads(tmp_path / "book")
    assert "demo-key" not in book_of_uploads(tmp_path / "book").read_text()
    steps = [(each.step, each.number, each.done) for each in simulator.uploads.requests]
    chunks = [(Step.CHUNK, number, True) for number in range(1, 6)]
    assert [(Step.INITIALIZE, 1, True), *chunks, (Step.FINALIZE, 1, True)] == steps
    assert len(DATA) == sum(each.size for each in simulator.uploads.requests)
    assert "demo-key" not in repr(simulator.uploads.requests)


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (1, 0, 3, 4, 2), (0, 2, 2, 1, 1, 4, 3, 0)])
async def test_chunks_come_in_any_order_and_again(
    api: Callable[[Simulator], Api], order: tuple[int, ...]
) -> None:
    """The hash is that of the file, whatever came first and however often."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        assert {200} == {(await mine.send(upload_id, index))[0] for index in order}
        assert 200 == (await mine.finish(upload_id))[0]
        assert sha256(DATA).hexdigest() == simulator.uploads.finished[0].sha256


async def test_the_same_chunks_at_once(api: Callable[[Simulator], Api]) -> None:
    """All chunks of an upload three times at the same time are the file."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        sent = await asyncio.gather(*(mine.send(upload_id, i % 5) for i in range(15)))
        assert {200} == {status for status, _ in sent}
        await mine.finish(upload_id)
        assert sha256(DATA).hexdigest() == simulator.uploads.finished[0].sha256


@pytest.mark.parametrize("first", [0, 3], ids=["hashed already", "waiting"])
async def test_a_chunk_that_comes_again_with_other_bytes_is_refused(
    api: Callable[[Simulator], Api], first: int
) -> None:
    """The bytes that were received first stay."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        await mine.send(upload_id, first)
        status, answer = await mine.send(upload_id, first, bytes(CHUNK))
        assert (400, f"chunk {first} is there with other bytes") == (status, said(answer))
        for index in range(5):
            await mine.send(upload_id, index)
        await mine.finish(upload_id)
        assert sha256(DATA).hexdigest() == simulator.uploads.finished[0].sha256


@pytest.mark.parametrize(
    ("index", "size", "why"),
    [
        (5, CHUNK, "chunk_index 5 is not below 5"),
        (0, CHUNK - 1, "chunk 0 has 999 bytes, not 1000"),
        (0, CHUNK + 1, "chunk 0 has 1001 bytes, not 1000"),
        (4, CHUNK, "chunk 4 has 1000 bytes, not 123"),
        (0, 0, "chunk 0 has 0 bytes, not 1000"),
    ],
)
async def test_a_chunk_of_the_wrong_index_or_size_is_refused(
    api: Callable[[Simulator], Api], index: int, size: int, why: str
) -> None:
    """Only the last chunk may be shorter, and only by what the file is."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        status, answer = await mine.send(upload_id, index, bytes(size))
        assert (400, why) == (status, said(answer))
        assert [True, False] == [each.done for each in simulator.uploads.requests]
        for each in range(5):
            await mine.send(upload_id, each)
        await mine.finish(upload_id)
        assert sha256(DATA).hexdigest() == simulator.uploads.finished[0].sha256


async def test_what_is_not_whole_is_not_finished(api: Callable[[Simulator], Api]) -> None:
    """Chunks that are missing are named; the upload goes on."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        await mine.send(upload_id, 0)
        await mine.send(upload_id, 3)
        status, answer = await mine.finish(upload_id)
        assert (400, "Missing chunks: 1, 2, 4") == (status, said(answer))
        assert [] == simulator.uploads.finished
        assert 200 == (await mine.send(upload_id, 1))[0]


async def test_a_finished_upload_is_known_no_more(api: Callable[[Simulator], Api]) -> None:
    """Neither a second finalize nor a chunk is taken."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin(CHUNK)
        await mine.send(upload_id, 0)
        assert 200 == (await mine.finish(upload_id))[0]
        assert (404, MISSING) == await mine.finish(upload_id)
        assert (404, MISSING) == await mine.send(upload_id, 0)
        assert 1 == len(simulator.uploads.finished)


async def test_an_old_upload_is_known_no_more(api: Callable[[Simulator], Api]) -> None:
    """From its life on, an upload is 404."""
    async with Simulator(small(life_seconds=0)) as simulator:
        mine = api(simulator)
        assert (404, MISSING) == await mine.send(await mine.begin(), 0)


async def test_an_upload_is_its_keys_own(api: Callable[[Simulator], Api]) -> None:
    """Another key does not find it, and no key is refused."""
    both = Options(keys=frozenset({"demo-key", "other"}), uploads=Uploading(chunk_bytes=CHUNK))
    async with Simulator(both) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        chunk = {"api_key": "other", "upload_id": upload_id, "chunk_index": 0}
        assert (404, MISSING) == await mine.post(Step.CHUNK, chunk, DATA[:CHUNK])
        assert 401 == (await mine.post(Step.CHUNK, {**chunk, "api_key": "no"}, DATA[:CHUNK]))[0]


@pytest.mark.parametrize("size", ["0", "-1", "x", "9" * 30, "\u0661"])
async def test_a_size_that_is_none_is_refused(api: Callable[[Simulator], Api], size: str) -> None:
    """A whole number from 1 on."""
    async with Simulator(small()) as simulator:
        status, answer = await api(simulator).post(Step.INITIALIZE, {"file_size_bytes": size})
        assert (400, "Invalid value: file_size_bytes") == (status, said(answer))


@pytest.mark.parametrize(
    ("step", "fields", "missing"),
    [
        (Step.INITIALIZE, {"x": 1}, "file_size_bytes"),
        (Step.CHUNK, {"chunk_index": 0}, "upload_id"),
        (Step.CHUNK, {"upload_id": "u"}, "chunk_index"),
        (Step.CHUNK, {"upload_id": "u", "chunk_index": 0}, "file_data"),
        (Step.FINALIZE, {"x": 1}, "upload_id"),
    ],
)
async def test_a_missing_field_is_named(
    api: Callable[[Simulator], Api], step: Step, fields: Mapping[str, object], missing: str
) -> None:
    """As the API does."""
    async with Simulator(small()) as simulator:
        status, answer = await api(simulator).post(step, fields)
        assert (400, f"Missing required field: {missing}") == (status, said(answer))


async def test_what_is_no_form_is_refused(client: aiohttp.ClientSession) -> None:
    """JSON and torn forms have no key."""
    torn = {"Content-Type": "multipart/form-data; boundary=x"}
    async with Simulator(small()) as simulator:
        for step in Step:
            url = f"{simulator.url}/{PATHS[step]}"
            async with client.post(url, json={"api_key": "demo-key"}) as answer:
                assert 401 == answer.status
            async with client.post(url, data=b"--x\r\nno", headers=torn) as answer:
                assert 401 == answer.status


async def test_a_chunk_that_breaks_off_changes_nothing(
    client: aiohttp.ClientSession, api: Callable[[Simulator], Api]
) -> None:
    """The same index is taken afterwards."""
    async with Simulator(small()) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()

        async def half() -> AsyncIterator[bytes]:
            fields = {"api_key": "demo-key", "upload_id": upload_id, "chunk_index": "0"}
            for name, text in fields.items():
                head = f'Content-Disposition: form-data; name="{name}"'
                yield f"--x\r\n{head}\r\n\r\n{text}\r\n".encode()
            head = 'Content-Disposition: form-data; name="file_data"; filename="c"'
            yield f"--x\r\n{head}\r\n\r\n".encode() + DATA[:500]
            raise ConnectionAbortedError

        with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
            await client.post(
                f"{simulator.url}/{PATHS[Step.CHUNK]}",
                data=half(),
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )
        assert {200} == {(await mine.send(upload_id, index))[0] for index in range(5)}
        await mine.finish(upload_id)
        assert sha256(DATA).hexdigest() == simulator.uploads.finished[0].sha256


def said(answer: Mapping[str, object]) -> str:
    """Return the message of a refusal."""
    message: str = json.loads(json.dumps(answer))["errors"][0]["message"]
    return message


async def uploaded(mine: Api, *, patience: float = 20) -> tuple[object, Mapping[str, object]]:
    """Upload DATA with one try of each step; return the answer of the first that is not as wanted,
    or the error's name.
    """
    try:
        async with asyncio.timeout(patience):
            status, begun = await mine.post(Step.INITIALIZE, {"file_size_bytes": len(DATA)})
            if status != 200 or begun.get("file_chunk_size_bytes") != CHUNK:
                return status, begun
            for index in range(5):
                status, answer = await mine.send(str(begun["upload_id"]), index)
                if (status, answer) != (200, {}):
                    return status, answer
            return await mine.finish(str(begun["upload_id"]))
    except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
        return type(error).__name__, {}


RESET = {"ClientOSError", "ServerDisconnectedError"}
GONE = {"lost": RESET, "lost-fin": RESET, "half": {"ClientPayloadError"}, "stall": {"TimeoutError"}}


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("kind", ["lost", "lost-fin", "half", "lost-502", "not-json", "stall"])
async def test_a_step_whose_answer_is_lost_is_done(
    api: Callable[[Simulator], Api], step: Step, kind: str
) -> None:
    """The client does not learn of it; the book does."""
    async with Simulator(scripted(step, kind)) as simulator:
        found = await uploaded(api(simulator), patience=0.3 if kind == "stall" else 20)
        assert found[0] in GONE.get(kind, {"JSONDecodeError"})
        met = [each for each in simulator.uploads.requests if each.kind == kind]
        assert [(step, 1, True)] == [(each.step, each.number, each.done) for each in met]
        assert (step is Step.FINALIZE) == bool(simulator.uploads.finished)


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("kind", ["500", "429", "proxy-502", "retry-after-503", "echo-key"])
async def test_a_step_that_is_turned_away_is_not_done(
    api: Callable[[Simulator], Api], step: Step, kind: str
) -> None:
    """It is as if it had not come, and may come again."""
    async with Simulator(scripted(step, kind)) as simulator:
        mine = api(simulator)
        found = await uploaded(mine)
        if kind == "echo-key":
            assert "demo-key" in str(found)
        assert [False] == [each.done for each in simulator.uploads.requests if each.kind]
        assert [] == simulator.uploads.finished
        assert "valossaupload" in str(await uploaded(mine))


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("kind", ["reset", "reset-early"])
async def test_a_step_whose_connection_is_reset_is_not_done(
    api: Callable[[Simulator], Api], step: Step, kind: str
) -> None:
    """Before the body was read, or after."""
    async with Simulator(scripted(step, kind)) as simulator:
        mine = api(simulator)
        assert (await uploaded(mine))[0] in RESET
        assert [False] == [each.done for each in simulator.uploads.requests if each.kind]
        assert "valossaupload" in str(await uploaded(mine))


async def test_a_stalled_step_is_answered_when_released(
    api: Callable[[Simulator], Api],
) -> None:
    """A test says when."""
    async with Simulator(scripted(Step.CHUNK, "stall")) as simulator:
        asked = asyncio.create_task(uploaded(api(simulator)))
        await simulator.wait_until(lambda: any(r.kind for r in simulator.uploads.requests))
        assert not asked.done()
        simulator.release()
        assert "valossaupload" in str(await asked)


async def test_a_doubled_answer_comes_on_an_idle_connection(
    api: Callable[[Simulator], Api],
) -> None:
    """The next request must not take it for its own."""
    async with Simulator(scripted(Step.CHUNK, "doubled")) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin()
        assert 200 == (await mine.send(upload_id, 0))[0]
        await asyncio.sleep(0.1)
        assert 200 == (await mine.send(upload_id, 1))[0]


@pytest.mark.parametrize("step", [Step.CHUNK, Step.FINALIZE])
async def test_a_forgotten_upload_is_gone(api: Callable[[Simulator], Api], step: Step) -> None:
    """From this step on it is 404; another is not touched."""
    async with Simulator(scripted(step, "forgotten")) as simulator:
        mine = api(simulator)
        other = await mine.begin()
        assert (404, MISSING) == await uploaded(mine)
        gone = simulator.uploads.requests[-1].fields["upload_id"]
        assert (404, MISSING) == await mine.send(gone, 0)
        assert 200 == (await mine.send(other, 0))[0]


async def test_an_unkept_chunk_is_missing(api: Callable[[Simulator], Api]) -> None:
    """It was answered as if it were there."""
    async with Simulator(scripted(Step.CHUNK, "unkept")) as simulator:
        status, answer = await uploaded(api(simulator))
        assert (400, "Missing chunks: 0") == (status, said(answer))


@pytest.mark.parametrize(
    ("kind", "size"), [("huge-chunks", 1 << 30), ("no-chunks", 0), ("texts", str(CHUNK))]
)
async def test_an_odd_chunk_size(api: Callable[[Simulator], Api], kind: str, size: object) -> None:
    """No client should believe everything."""
    async with Simulator(scripted(Step.INITIALIZE, kind)) as simulator:
        _, answer = await api(simulator).post(Step.INITIALIZE, {"file_size_bytes": 5})
        assert size == answer["file_chunk_size_bytes"]


async def test_an_id_that_is_unknown_at_once(api: Callable[[Simulator], Api]) -> None:
    """Its first chunk is 404."""
    async with Simulator(scripted(Step.INITIALIZE, "unknown")) as simulator:
        assert (404, MISSING) == await uploaded(api(simulator))


@pytest.mark.parametrize(
    ("kind", "number"),
    [("empty", 0), ("deep", 1), ("several", 2), ("twice", 2), ("other-scheme", 0)],
)
async def test_an_odd_finalize_is_done(
    api: Callable[[Simulator], Api], kind: str, number: int
) -> None:
    """The upload is finished; the answer has so many addresses of uploads."""
    async with Simulator(scripted(Step.FINALIZE, kind)) as simulator:
        _, answer = await uploaded(api(simulator))
        assert number == json.dumps(answer).count("valossaupload://")
        (upload,) = simulator.uploads.finished
        assert (number > 0) == (upload.url in json.dumps(answer))
        assert sha256(DATA).hexdigest() == upload.sha256


def test_every_kind_can_be_ordered() -> None:
    """All kinds of all steps are taken by their names, with any status."""
    for name in UPLOAD_KINDS:
        step, kind = name.replace("STATUS", "418").split(":")
        assert {step: {kind: 0.5}} == parse_upload_failures([f"{step}:{kind}=0.5"])
        Uploading(failures={step: {kind: 0.5}}, script={step: {1: kind}})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lost=0.1", "'lost=0.1' is not STEP:KIND=SHARE; write such as chunk:lost=0.05"),
        ("chunk:lost", "is not STEP:KIND=SHARE"),
        ("chunks:lost=0.1", "'chunks' is no step of an upload; take one of: initialize, chunk"),
        ("chunk:los=0.1", "'los' is no kind of trouble of chunk; did you mean 'lost'"),
        ("chunk:deep=0.1", "'deep' is no kind of trouble of chunk"),
        ("chunk:STATUS=0.1", "'STATUS' is no kind of trouble of chunk"),
        ("chunk:lost=1.1", "the share 1.1 is outside 0 to 1"),
    ],
)
def test_a_trouble_that_is_none_is_refused(text: str, why: str) -> None:
    """The message has the way out."""
    with pytest.raises(ValueError, match=why):
        Uploading(failures=parse_upload_failures([text]))


def test_options_that_cannot_be_are_refused() -> None:
    """Shares beyond one, chunks of nothing, kinds in a script."""
    with pytest.raises(ValueError, match=r"the share 1\.2"):
        Uploading(failures=parse_upload_failures(["chunk:lost=0.6", "chunk:empty=0.6"]))
    with pytest.raises(ValueError, match="chunks of 0 bytes"):
        Uploading(chunk_bytes=0)
    with pytest.raises(ValueError, match="is no kind of trouble of finalize"):
        Uploading(script={"finalize": {1: "unkept"}})


async def test_steps_have_dice_of_their_own() -> None:
    """The same seed gives the same troubles, each step others."""
    uploading = Uploading(failures={step: {"lost": 0.5} for step in Step})
    rolls = {
        (step, seed): [uploading.kind_of(step, number, seed) for number in range(64)]
        for step in Step
        for seed in range(2)
    }
    assert 6 == len({tuple(kinds) for kinds in rolls.values()})
    assert KINDS.keys() == {*Step}


async def test_an_upload_takes_little_memory(api: Callable[[Simulator], Api]) -> None:
    """However large it is, and in whatever order it comes."""
    size, chunk = 64 << 20, 4 << 20
    options = Options(uploads=Uploading(chunk_bytes=chunk))
    data = random.Random(1).randbytes(chunk)
    async with Simulator(options) as simulator:
        mine = api(simulator)
        upload_id = await mine.begin(size)
        tracemalloc.start()
        for index in (*range(1, 16), 0):
            await mine.send(upload_id, index, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await mine.finish(upload_id)
        assert sha256(16 * data).hexdigest() == simulator.uploads.finished[0].sha256
    assert peak < 3 * chunk  # the client's own chunk is among it
