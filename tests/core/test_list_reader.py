import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lists import listing
from worker.core.job_list import Listing
from worker.core.list_reader import MEMBER_LIMIT, TOO_LONG, ListReader, UnreadableError

# A list that comes in parts.


def feed(*parts: bytes) -> Listing:
    """Return the list that comes in these parts."""
    reader = ListReader()
    for part in parts:
        reader.feed(part)
    return reader.end()


def fed(body: bytes, size: int) -> Listing | None:
    """Return the list of a body that comes in parts of so many bytes, the first of eight."""
    try:
        return feed(body[:8], *(body[at : at + size] for at in range(8, len(body), size)))
    except UnreadableError:
        return None


DOCUMENTS = st.recursive(
    st.sampled_from(
        ["a", "https://v.example/1", 1, -2.5e30, None, True, '"', "]", "[{", "\\", "é🎬"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["job_id", "id", "jobs", "next", "total"]), inner)
    ),
    max_leaves=12,
)


@given(DOCUMENTS, st.integers(1, 9), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]))
def test_the_parts_of_a_list_are_the_list(document: object, size: int, encoding: str) -> None:
    """A list is the same whole and in parts, wherever they end."""
    for indent in (None, 1):
        body = json.dumps(document, ensure_ascii=False, indent=indent).encode(encoding)
        whole = listing(body)
        assert whole is not None
        assert whole == fed(body, size)


@pytest.mark.parametrize(
    "body",
    [
        b'{"jobs": [{"job_id": "a"}',
        b'{"jobs": [{"job_id": "a"}]',
        b'{"jobs": [{"job_id": "a"} {"job_id": "b"}]}',
        b'{"jobs": [{"job_id": "a"},]}',
        b'{"jobs": [,{"job_id": "a"}]}',
        b'{"jobs": [1.]}',
        b'{"jobs": [tru]}',
        b'{"jobs": [1x]}',
        b'{"jobs": [}',
        b'{"jobs": []]}',
        b'{"a": [1], "a": [2]}',
        b'{"number of an array": 7}',
        b'[{"a": "\xff"}]',
        b"[" * 10_000,
        b'[{"a":' * 10_000,
        b"[" + b"9" * 5_000 + b"]",
        b"",
    ],
)
def test_parts_that_are_not_json_are_no_list(body: bytes) -> None:
    """A body that is not JSON is no list, whole and in parts."""
    assert None is listing(body)
    assert None is fed(body, 3)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"job_id": "' + b"a" * 2 * MEMBER_LIMIT + b'"}]',
        b'{"text": "' + b"a" * 2 * MEMBER_LIMIT + b'", "jobs": []}',
        b"[" + b" " * 2 * MEMBER_LIMIT + b"]",
        b'[{"u": [' + b'"a://",' * 200_000,
    ],
    ids=["a-job", "around", "spaces", "half-a-job"],
)
def test_a_list_that_takes_too_much_is_left(body: bytes) -> None:
    """A list whose one job, or whose text around the jobs, is huge is not kept until its end."""
    with pytest.raises(UnreadableError) as raised:
        feed(*(body[at : at + 65_536] for at in range(0, len(body), 65_536)))
    assert TOO_LONG == str(raised.value)


def test_a_list_of_too_many_jobs_is_left() -> None:
    """Jobs, identifiers and addresses are counted, since each takes memory of its own."""
    part = b'{"u": [' + b",".join(b'"%x://"' % number for number in range(9_999)) + b"]},"
    with pytest.raises(UnreadableError) as raised:
        feed(b"[", *[part] * 101)
    assert TOO_LONG == str(raised.value)


def test_arrays_inside_of_a_job_hold_no_jobs() -> None:
    """The members of an array inside of a named job are part of it, wherever it stands."""
    body = b'{"jobs": {"x": {"job_id": "a", "faces": ["f", {"id": "g"}, {"job_id": "b"}]}}}'
    found = listing(body)
    assert found is not None
    assert ["a", "b"] == [entry.job_id for entry in found.entries]
