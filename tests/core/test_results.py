import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.results import (
    DEEPEST,
    ENDINGS,
    LONGEST,
    NOT_JSON,
    TOO_LONG,
    Document,
    WrongResultError,
    after_outage,
    again_after,
    path_of,
)

MAY = datetime(2026, 5, 31, 23, 59, tzinfo=UTC)
JOB = "9f1c2f6e-0b0e-4b64-8f5e-1d2a3c4b5d6e"


def read(body: bytes, size: int = 1 << 20) -> str | None:
    """Return the job that a document names which comes in parts of so many bytes."""
    document = Document()
    for at in range(0, len(body), size):
        document.feed(body[at : at + size])
    document.end()
    return document.job_id


def verdict(body: bytes, size: int = 1 << 20) -> str | None:
    """Return the fault that the reader finds; None if it finds none."""
    try:
        read(body, size)
    except WrongResultError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_result_is_called_by_its_job_its_type_and_its_month(kind: str) -> None:
    """The path of a result is the month of its acceptance, its job's id, its type and ending."""
    assert f"2026-05/{JOB}.{kind}.{ENDINGS[kind]}" == path_of(JOB, MAY, kind)


def test_the_nine_types_have_the_endings_of_their_formats() -> None:
    """Five types are JSON and compressed; four are texts, as players read them."""
    texts = {kind: ending for kind, ending in ENDINGS.items() if ending != "json.gz"}
    assert 9 == len(ENDINGS)
    assert {
        "speech_to_text_srt": "srt",
        "speech_to_text_vtt": "vtt",
        "speech_to_text_ttml": "ttml",
        "speech_to_text_avid_txt": "txt",
    } == texts


HOSTILE = [
    "../../etc/passwd",
    "a/b",
    "",
    ".",
    "A" * 300,
    "x\0y",
    "\ud800",
    "a b",
    "Å",
    "-rf",
    JOB.upper(),
]


@pytest.mark.parametrize("job_id", HOSTILE)
def test_a_job_id_that_is_no_file_name_is_hashed(job_id: str) -> None:
    """A job id never leaves the folder, and never makes a name that a system refuses."""
    month, name = path_of(job_id, MAY, "core").split("/")
    assert "2026-05" == month
    assert len(f"{name}.part") < 128
    assert name.startswith("_")
    assert name.isascii()
    assert name.isprintable()


def test_no_two_jobs_share_a_path() -> None:
    """Job ids that differ, be it in case alone, have paths that differ in more than case."""
    ids = [*HOSTILE, JOB, "a_b", "a-b", path_of("a b", MAY, "core").split("/")[1].split(".")[0]]
    assert len(ids) == len({path_of(each, MAY, "core").lower() for each in ids})


VALUES = st.recursive(
    st.sampled_from(
        [
            "a",
            "",
            0,
            -0.5,
            1e30,
            12345,
            None,
            True,
            False,
            '"',
            "]",
            "[{",
            "\\",
            "é🎬",
            "\n",
            "\x7f",
            "job_id",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["job_id", "job_info", "a", "b,c", '"']), inner)
    ),
    max_leaves=20,
)
TOPS = st.dictionaries(st.sampled_from(["job_info", "job_id", "x"]), VALUES) | st.lists(VALUES)


@given(TOPS, st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_a_document_is_well_formed_wherever_its_parts_end(
    document: object,
    size: int,
    indent: int | None,
    ascii_: bool,  # noqa: FBT001
) -> None:
    """Every JSON document is read to its end, and its job is found, whole and in parts."""
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_).encode()
    info = document.get("job_info") if isinstance(document, dict) else None
    named = info.get("job_id") if isinstance(info, dict) else None
    expected = named if isinstance(named, str) else None
    if not isinstance(document, dict):
        assert NOT_JSON == verdict(body, size)
        return
    assert expected == read(body)
    assert expected == read(body, size)


@given(TOPS, st.data())
def test_a_document_with_a_fault_is_judged_as_by_the_library(
    document: object, data: st.DataObject
) -> None:
    """A document of which a byte is taken out, put in or changed is JSON if Python says so."""
    body = bytearray(json.dumps(document).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    new = data.draw(
        st.sampled_from([b"", b",", b"]", b"}", b"{", b'"', b"0", b" ", b"\\", b":", b"\n"])
    )
    body[at : at + data.draw(st.integers(0, 1))] = new
    size = data.draw(st.integers(1, 40))
    try:
        known = json.loads(body)
    except ValueError:
        known = None
    if isinstance(known, dict):
        assert None is verdict(bytes(body), size)
    else:
        assert NOT_JSON == verdict(bytes(body), size)


WRONG = [
    *(b"1,", b"1, ", b"01", b"1.", b"+1", b"NaN", b"nul", b"1 2", b"1}", b",", b"1,,2"),
    *(b'"\x01"', b'"\\x"', b'"\xff"', b'"\xc3"', b"\xd9\xa1", b"1e", b"-", b'"', b"{1: 2}"),
    *(b'{"a"}', b'{"a": 1,}', b'{"a": 1]', b'{"a": 1 "b": 2}', b'{"a" 1}', b"[", b"]"),
]
DOCUMENTS = [
    *(b"", b" ", b"17", b'"core"', b"<html>", b"[]", b'{"a": 1}{"b": 2}', b'{"a": 1} x'),
    *(b"{", b'{"a', b'{"a": ', b'{"a": 1', b'{"a": [1, 2', b'{"a": "b', b'{"a": "b\\'),
    *(b'{"a": [%s]}' % each for each in WRONG),
    b'{"a": [1]}\xc3',
]


@pytest.mark.parametrize("body", DOCUMENTS)
@pytest.mark.parametrize("size", [1, 2, 1 << 21])
def test_what_is_not_json_to_its_end_is_wrong(body: bytes, size: int) -> None:
    """A document that is cut, or is none, is wrong wherever its parts end."""
    assert NOT_JSON == verdict(body, size)


def test_what_would_take_more_and_more_memory_is_refused() -> None:
    """A text without end and nesting without end are refused while they come."""
    for body in (b'{"a": "' + b"x" * (LONGEST + 1), b'{"a": ' + b"[" * (DEEPEST + 1)):
        assert TOO_LONG == verdict(body)
        assert TOO_LONG == verdict(body, 10_000)


@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 60), (2, 120), (7, 3_600), (9, 3_600), (10, None)]
)
def test_a_wrong_result_is_waited_for_ever_longer(tries: int, seconds: int | None) -> None:
    """The wait doubles up to an hour; after ten tries there is none."""
    wait = again_after(tries)
    assert seconds == (None if wait is None else wait.total_seconds())


@pytest.mark.parametrize(
    ("age", "seconds"), [(-5, 30), (29, 30), (31, 31), (3_599, 3_599), (9_999_999, 3_600)]
)
def test_an_outage_is_waited_for_as_long_as_the_job_is_over(age: int, seconds: int) -> None:
    """The wait is half a minute at least and an hour at most, also by a clock that was set back."""
    assert seconds == after_outage(timedelta(seconds=age)).total_seconds()


@pytest.mark.parametrize("size", [3, 1 << 16])
def test_a_text_may_be_long(size: int) -> None:
    """A text of many parts is read, and what follows it as well."""
    length = LONGEST // 4 if size > 3 else 100
    long = b'{"a": "' + b"x\\n" * length + b'", "job_info": {"job_id": "j"}}'
    assert "j" == read(long, size)


def test_the_job_is_named_at_its_place_alone() -> None:
    """A job id elsewhere, as in the title of a video, names no job."""
    inside = {"job_info": {"job_id": "other"}, "job_id": "other"}
    assert None is read(json.dumps({"job_id": "a", "media": inside}).encode())
    request = {"job_info": {"request": {"job_id": "other", "deep": [inside]}, "job_id": "mine"}}
    assert "mine" == read(json.dumps({"a": inside, **request, "b": inside}).encode())
    assert "mine" == read(b'\xef\xbb\xbf{"job_info": {"job_id": "m\\u0069ne"}}')
