import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conftest import START
from tests.parts import POLICY
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
from worker.core.upload import (
    EARLY,
    LARGEST,
    LARGEST_CHUNK,
    OLDEST,
    Finished,
    Identity,
    Opened,
    Setback,
    Upload,
    changed,
    finished,
    goes_on,
    interrupted,
    is_fresh,
    opened,
    size_problem,
    unwritten,
)

FILE = Identity(device=1, inode=2, size=2_500, changed_ns=4)
WANTED = Upload(video_id=7, address="file:///media/a.mp4")
BEGUN = replace(WANTED, identity=FILE, upload_id="u", chunk_size=1_000, begun_at=START)
HALF = replace(BEGUN, acknowledged=2, last_sha256="h", tries=1)
WHOLE = replace(BEGUN, acknowledged=3, last_sha256="h")
SECOND = timedelta(seconds=1)


def test_chunks_cover_a_file_without_a_gap() -> None:
    """Every chunk has the given size, only the last may be shorter."""
    assert [(0, 1_000), (1_000, 1_000), (2_000, 500)] == [BEGUN.place(n) for n in range(3)]
    assert 3 == BEGUN.chunks
    even = replace(BEGUN, identity=replace(FILE, size=2_000))
    assert (2, (1_000, 1_000)) == (even.chunks, even.place(1))


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (0, "is empty"),
        (1, None),
        (LARGEST, None),
        (LARGEST + 1, "has 7,000,000,001 bytes; the API takes 7 GB"),
    ],
)
def test_an_empty_or_too_large_file_is_refused(size: int, why: str | None) -> None:
    """The API's limit is held before the first byte."""
    told = size_problem(size)
    assert why is told is None or str(why) in str(told)


@pytest.mark.parametrize(
    ("upload", "found", "now", "goes"),
    [
        (BEGUN, FILE, START, True),
        (HALF, FILE, START + OLDEST, True),
        (HALF, FILE, START + OLDEST + SECOND, False),
        (HALF, FILE, START - SECOND, False),
        (HALF, replace(FILE, changed_ns=5), START, False),
        (HALF, replace(FILE, inode=3), START, False),
        (HALF, replace(FILE, size=2_501), START, False),
        (WHOLE, FILE, START, False),
        (WANTED, FILE, START, False),
        (replace(HALF, begun_at=None), FILE, START, False),
    ],
)
def test_an_upload_goes_on_only_where_nothing_is_in_doubt(
    upload: Upload, found: Identity, now: object, *, goes: bool
) -> None:
    """Law 16: the same file, young enough, and finalize was never asked for."""
    assert goes is goes_on(upload, found, now)  # type: ignore[arg-type]


def test_a_finished_upload_grows_old() -> None:
    """No page says how long the API keeps one."""
    assert is_fresh(START, START + OLDEST)
    assert not is_fresh(START, START + OLDEST + SECOND)


def test_an_upload_of_a_later_time_is_not_fresh() -> None:
    """The clock was set back, so nobody knows its age. Clocks of two workers differ a little."""
    assert is_fresh(START, START - EARLY)
    assert not is_fresh(START, START - EARLY - SECOND)


def test_an_upload_that_is_begun_anew_keeps_its_troubles_alone() -> None:
    """Nothing of the old upload is left, but what bounds the new ones."""
    old = replace(HALF, changes=1, restarts=2)
    assert replace(WANTED, identity=FILE, changes=1, restarts=2) == old.anew(FILE)
    assert replace(WANTED, changes=1, restarts=2) == old.anew()


@pytest.mark.parametrize("size", [1, LARGEST_CHUNK])
def test_the_answer_to_initialize_is_believed(size: int) -> None:
    """An id and a chunk size are all that is needed; other fields are passed over."""
    body = json.dumps({"upload_id": "u-1", "file_chunk_size_bytes": size, "more": [1]})
    assert Opened("u-1", size) == opened(body.encode())


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b"no", "null"),
        (b"[1]", "[int]"),
        (b"{}", "{}"),
        (b'{"upload_id": "", "file_chunk_size_bytes": 5}', "with chunks of 5 bytes"),
        (b'{"upload_id": 5, "file_chunk_size_bytes": 5}', "upload_id: int"),
        (b'{"upload_id": "u\\u0000", "file_chunk_size_bytes": 5}', "upload_id: str"),
        (b'{"upload_id": "u", "file_chunk_size_bytes": 0}', "chunks of 0 bytes"),
        (b'{"upload_id": "u", "file_chunk_size_bytes": true}', "file_chunk_size_bytes: bool"),
        (b'{"upload_id": "u", "file_chunk_size_bytes": "5"}', "file_chunk_size_bytes: str"),
        (b'{"upload_id": "u", "file_chunk_size_bytes": 67108865}', "chunks of 67108865 bytes"),
    ],
)
def test_another_answer_to_initialize_is_a_doubt(body: bytes, shape: str) -> None:
    """No id, or chunks that would not fit into memory: the message shows the shape alone."""
    told = opened(body)
    assert isinstance(told, InDoubt)
    assert told.message.startswith("initialize_file_upload answered ")
    assert shape in told.message
    assert 200 == told.status


@pytest.mark.parametrize(
    "document",
    [
        {"uploaded_file_url": "valossaupload://x"},
        "valossaupload://x",
        [{"deep": {"er": [1, None, "u", "valossaupload://x"]}}],
        {"a": "valossaupload://x", "b": "valossaupload://x", "c": "https://e.org/valossaupload://"},
    ],
)
def test_the_one_address_is_found_wherever_it_stands(document: object) -> None:
    """The answer to finalize is not documented."""
    assert Finished("valossaupload://x") == finished(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"url": "https://e.org/x"}, "{url: str}, with 0 addresses"),
        (["valossaupload://x", "valossaupload://y"], "[str], with 2 addresses"),
        ({"url": "valossaupload://x\0"}, "with 0 addresses"),
        ({"m": "valossaupload://x is ready"}, "with 0 addresses"),
        ({"url": "valossaupload://"}, "with 0 addresses"),
        ({"url": "valossaupload://x\n"}, "with 0 addresses"),
        ({"url": "valossaupload://\u00e4"}, "with 0 addresses"),
        ({"url": "valossaupload://" + "x" * 2_000}, "with 0 addresses"),
        (None, "null, with 0 addresses"),
    ],
)
def test_none_or_several_addresses_are_a_doubt(document: object, told: str) -> None:
    """Law 16: nobody guesses which file would be bought."""
    found = finished(json.dumps(document).encode())
    assert isinstance(found, InDoubt)
    assert told in found.message


def test_a_file_that_changes_three_times_is_refused() -> None:
    """Two changes throw the upload away and wait longer each time; the third fails the video."""
    first = changed(HALF, 0.5, POLICY)
    assert first.upload == replace(WANTED, changes=1)
    assert (timedelta(seconds=5), False) == (first.wait, first.is_refused)
    second = changed(replace(HALF, changes=1), 0.5, POLICY)
    assert (timedelta(seconds=10), False) == (second.wait, second.is_refused)
    third = changed(replace(HALF, changes=2), 0.5, POLICY)
    assert third.is_refused
    assert "3 times: it is being written" in third.why


UNCLEAR = (InDoubt("lost"), InDoubt("HTTP 502", 502), TryLater("HTTP 500", 500))
ALL_ALIKE = (
    NotSent("no network"),
    Throttled("HTTP 429", 429),
    AccountRefused("HTTP 401", 401),
    WrongAddress("HTTP 405", 405),
)


@pytest.mark.parametrize("outcome", [*ALL_ALIKE, WrongAddress("HTTP 404", 404)])
def test_an_upload_that_was_not_opened_waits_for_its_turn(outcome: Outcome) -> None:
    """Nothing is lost, and the others wait as well: they would meet the same."""
    fresh = WANTED.anew(FILE)
    met = interrupted(fresh, outcome, 0.5, POLICY)
    assert Setback(why=outcome.message or "", upload=fresh, holds_all=True) == met


@pytest.mark.parametrize("outcome", UNCLEAR)
def test_an_upload_whose_opening_stays_unclear_lets_others_pass(outcome: Outcome) -> None:
    """It waits for longer than all do, and for longer each time; the last time fails it."""
    first = interrupted(WANTED.anew(FILE), outcome, 0.5, POLICY)
    assert (replace(WANTED, restarts=1), True) == (first.upload, first.holds_all)
    assert (POLICY.wait(2, 0.5), False) == (first.wait, first.is_refused)
    last = replace(WANTED.anew(FILE), restarts=POLICY.max_attempts - 1)
    assert interrupted(last, outcome, 0.5, POLICY).is_refused


def test_a_file_that_the_api_refuses_fails() -> None:
    """A clear no before the first byte is that of this file."""
    met = interrupted(WANTED.anew(FILE), Refused("HTTP 400: too large", 400), 0.5, POLICY)
    assert (True, True, "HTTP 400: too large") == (met.is_refused, met.holds_all, met.why)


@pytest.mark.parametrize("outcome", ALL_ALIKE[:2])
def test_a_chunk_that_was_clearly_not_taken_for_now_costs_nothing(outcome: Outcome) -> None:
    """The same chunk is sent again, as often as it takes."""
    met = interrupted(HALF, outcome, 0.5, POLICY)
    assert Setback(why=outcome.message or "", upload=HALF, holds_all=True) == met


@pytest.mark.parametrize("outcome", UNCLEAR)
def test_a_chunk_without_a_clear_answer_is_sent_three_times(outcome: Outcome) -> None:
    """The same bytes again; the third time, the upload is thrown away."""
    once = interrupted(replace(HALF, tries=0), outcome, 0.5, POLICY)
    assert (HALF, True) == (once.upload, once.holds_all)
    twice = interrupted(replace(HALF, tries=1), outcome, 0.5, POLICY)
    assert replace(HALF, tries=2) == twice.upload
    thrice = interrupted(replace(HALF, tries=2), outcome, 0.5, POLICY)
    assert (replace(WANTED, restarts=1), True) == (thrice.upload, thrice.holds_all)


@pytest.mark.parametrize("outcome", [Refused("HTTP 400", 400), WrongAddress("HTTP 404", 404)])
@pytest.mark.parametrize("upload", [HALF, WHOLE])
def test_an_upload_that_the_api_has_not_is_begun_anew(upload: Upload, outcome: Outcome) -> None:
    """It is this one's trouble, so the others go on."""
    met = interrupted(upload, outcome, 0.5, POLICY)
    assert (replace(WANTED, restarts=1), timedelta(seconds=5)) == (met.upload, met.wait)
    assert (False, False) == (met.holds_all, met.is_refused)


@pytest.mark.parametrize("outcome", ALL_ALIKE[2:])
def test_an_upload_whose_chunk_alone_is_refused_is_begun_anew(outcome: Outcome) -> None:
    """Something on the way may take offence at these bytes. The others go on; if it is the key, or
    the address, initialize says so.
    """
    met = interrupted(HALF, outcome, 0.5, POLICY)
    assert (replace(WANTED, restarts=1), timedelta(seconds=5)) == (met.upload, met.wait)
    assert (False, False) == (met.holds_all, met.is_refused)


@pytest.mark.parametrize("outcome", [*UNCLEAR, *ALL_ALIKE])
def test_finalize_is_never_asked_for_again(outcome: Outcome) -> None:
    """Law 16: whatever came of it, the file is uploaded anew."""
    met = interrupted(WHOLE, outcome, 0.5, POLICY)
    assert (replace(WANTED, restarts=1), True) == (met.upload, met.holds_all)


def test_an_end_without_an_address_fails_the_video() -> None:
    """Law 16: its form is new, so a person must look; nothing is bought."""
    met = interrupted(WHOLE, InDoubt("answered {}, with 0 addresses", 200), 0.5, POLICY)
    assert (True, "answered {}, with 0 addresses") == (met.is_refused, met.why)
    assert WANTED == met.upload


def test_a_third_end_that_is_refused_fails_the_video() -> None:
    """The file would be sent again and again; the others wait, since they may meet the same. An
    upload that the API has forgotten is begun anew.
    """
    refused, policy = Refused("HTTP 400", 400), replace(POLICY, max_attempts=8)
    met = interrupted(replace(WHOLE, restarts=2), refused, 0.5, policy)
    assert (True, True, "HTTP 400") == (met.is_refused, met.holds_all, met.why)
    second = interrupted(replace(WHOLE, restarts=1), refused, 0.5, policy)
    assert (replace(WANTED, restarts=2), False) == (second.upload, second.is_refused)
    part = interrupted(replace(HALF, restarts=2), refused, 0.5, policy)
    assert (False, False) == (part.is_refused, part.holds_all)
    gone = interrupted(replace(WHOLE, restarts=2), WrongAddress("HTTP 404", 404), 0.5, policy)
    assert (replace(WANTED, restarts=3), False) == (gone.upload, gone.is_refused)


def test_an_upload_that_cannot_be_written_waits_ever_longer() -> None:
    """Law 14: another program may refuse its row for good."""
    for restarts in (0, 1):
        met = unwritten(replace(WHOLE, restarts=restarts), "no", 0.5, POLICY)
        assert replace(WANTED, restarts=restarts + 1) == met.upload
        assert ("no", POLICY.wait(restarts + 1, 0.5)) == (met.why, met.wait)
        assert (False, False) == (met.holds_all, met.is_refused)


def test_an_upload_is_begun_anew_only_so_often() -> None:
    """An API that never keeps one gets no bytes without end."""
    last = replace(WHOLE, restarts=POLICY.max_attempts - 1)
    met = interrupted(last, InDoubt("lost"), 0.5, POLICY)
    assert met.is_refused
    assert "lost (upload 3, the last one allowed)" == met.why
