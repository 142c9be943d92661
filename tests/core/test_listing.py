import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.listing import Listing, listing


def read(document: object) -> Listing | None:
    """What a body with this document shows."""
    return listing(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"jobs": [{"job_id": "a"}, {"job_id": "b"}]},
        [{"job_id": "a"}, {"job_id": "b"}],
        {"data": {"more": {"jobs": [{"job_id": "a"}]}}, "older": [[{"job_id": "b"}]]},
        {"a": {"job_id": "a"}, "b": {"job_id": "b"}},
        [{"job_id": "a", "children": [{"job_id": "inside"}]}, {"job_id": "b"}],
        [{"job_id": 5}, {"job_id": None}, {"job_id": "a"}, "text", 1, None, {"job_id": "b"}],
    ],
)
def test_jobs_are_found_wherever_they_are_nested(document: object) -> None:
    """The shape is undocumented, so none is insisted on; a job inside a job is not another one."""
    assert Listing(jobs=2, identified=0) == read(document)


@pytest.mark.parametrize(
    ("entry", "identified"),
    [
        ({"customer_media_info": {"id": "ours"}}, 1),
        ({"media": {"customer_media_info": {"id": "ours"}}}, 1),
        ({"request": [{"media": [{"customer_media_info": {"id": ""}}]}]}, 1),
        ({"customer_media_info": {"id": 5}}, 0),
        ({"customer_media_info": {}}, 0),
        ({"customer_media_info": None}, 0),
        ({"customer_media_info": [{"id": "ours"}]}, 0),
        ({"id": "ours"}, 0),
        ({"media": ["customer_media_info", {"id": "ours"}]}, 0),
    ],
)
def test_our_own_id_counts_where_it_stands_for_one(entry: object, identified: int) -> None:
    """Whether doubts can be settled is judged by the field that new_job sends, and no other."""
    assert isinstance(entry, dict)
    found = read({"jobs": [{"job_id": "a", **entry}, {"job_id": "b"}]})
    assert Listing(jobs=2, identified=identified) == found


@pytest.mark.parametrize("document", [{}, [], {"jobs": []}, "text", 5, None, {"errors": [{}]}])
def test_json_without_jobs_is_an_empty_list(document: object) -> None:
    """A key without jobs works all the same."""
    assert Listing(jobs=0, identified=0) == read(document)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'{"jobs": [',
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900 + b"x",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"1" * 5_000,
    ],
)
def test_what_is_not_json_is_no_list(body: bytes) -> None:
    """A proxy's page, half an answer and an attack on the parser are told apart from a list."""
    assert listing(body) is None


@given(
    st.recursive(
        st.none() | st.text(max_size=3) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["job_id", "customer_media_info", "id", "x"]), inner, max_size=3
            )
        ),
    )
)
def test_no_more_jobs_are_identified_than_there_are(document: object) -> None:
    """Whatever the shape, the two numbers make sense together."""
    found = read(document)
    assert found is not None
    assert found.identified == min(found.identified, found.jobs)
