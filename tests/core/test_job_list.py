import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lists import listing
from worker.core.job_list import SHAPE_LIMIT, Entry, Listing

OURS = {"customer_media_info": {"id": "ours"}}


def read(document: object) -> Listing:
    """Return what a body with this document shows."""
    found = listing(json.dumps(document).encode())
    assert found is not None
    return found


def shown(document: object) -> list[tuple[str | None, set[str]]]:
    """Return the jobs in it: what each is called, and what its customer called it."""
    return [(entry.job_id, set(entry.identifiers)) for entry in read(document).entries]


@pytest.mark.parametrize(
    "document",
    [
        {"jobs": [{"job_id": "a"}, {"job_id": "b"}]},
        {"jobs": [{"id": "a"}, {"id": "b"}]},
        {"jobs": ["a", "b"]},
        [{"job_id": "a"}, {"job_id": "b"}],
        {"finished": [{"job_id": "a"}], "waiting": [{"job_id": "b"}]},
        {"data": {"more": {"jobs": [{"job_id": "a"}]}}, "older": [[{"job_id": "b"}]]},
        {"a": {"job_id": "a"}, "b": {"job_id": "b"}},
        {"days": [{"day": 1, "jobs": [{"job_id": "a"}]}, {"day": 2, "jobs": [{"job_id": "b"}]}]},
        [{"job_id": "a", "job_info": {"job_id": "a"}}, {"id": "b", "job_info": {"job_id": "b"}}],
        {"finished": [{"job_id": "a"}, {"job_id": "b"}], "all": [{"job_id": "b"}]},
    ],
)
def test_jobs_are_found_wherever_they_are_nested(document: object) -> None:
    """Jobs are found in a list of any shape."""
    assert {("a", ()), ("b", ())} == {(job, tuple(named)) for job, named in shown(document)}
    assert 2 == len(read(document).entries)


@pytest.mark.parametrize(
    ("document", "jobs"),
    [
        ([{"job_id": "a", "like": [{"job_id": "b", **OURS}]}], [("a", {"ours"}), ("b", {"ours"})]),
        (
            {"jobs": [{"id": "a", **OURS, "children": [{"job_id": "b"}]}]},
            [("a", {"ours"}), ("b", set())],
        ),
        (
            {"done": [{"job_id": "a"}], "waiting": {"b": OURS}},
            [("a", set()), (None, {"ours"})],
        ),
        (
            [{"media": OURS, "job_info": {"job_id": "a"}}],
            [("a", set()), (None, {"ours"})],
        ),
        ([{"job_id": 5}, "text", 1, None], [("5", set()), ("text", set()), ("1", set())]),
    ],
)
def test_what_may_be_a_job_is_counted_as_one(
    document: object, jobs: list[tuple[str | None, set[str]]]
) -> None:
    """A job in an odd place is never overlooked, nor is its identifier another job's alone."""
    found = shown(document)
    assert jobs == found[: len(jobs)]
    assert all((None, set()) == rest for rest in found[len(jobs) :])


def test_jobs_without_an_id_are_all_counted() -> None:
    """Members of an array without a job id each count as a job."""
    nameless = [{}, None, {"job_id": ""}, {"status": "queued"}]
    assert [(None, set())] * 4 == shown({"jobs": nameless})


@pytest.mark.parametrize(
    ("entry", "identified"),
    [
        ({"customer_media_info": {"id": "ours"}}, {"ours"}),
        ({"media": {"customer_media_info": {"id": "ours"}}}, {"ours"}),
        ({"request": [{"media": [{"customer_media_info": {"id": "ours"}}]}]}, {"ours"}),
        ({"customer_media_info": [{"id": "ours"}]}, {"ours"}),
        ({"customer_media_info": {"id": 5}}, {"5"}),
        ({"customer_media_info_id": "ours"}, {"ours"}),
        ({"media": {"customer_media_id": "ours"}}, {"ours"}),
        ({"customer_media_id": "one", **OURS}, {"one", "ours"}),
        ({"customer_media_info": {"id": ""}}, set()),
        ({"customer_media_info": {"id": True}}, set()),
        ({"customer_media_info": {"id": 5.5}}, set()),
        ({"customer_media_info": {}}, set()),
        ({"customer_media_info": None}, set()),
        ({"customer_media_info": "ours"}, set()),
        ({"id": "ours"}, set()),
        ({"media": ["customer_media_info", {"id": "ours"}]}, set()),
    ],
)
def test_our_own_id_counts_where_it_stands_for_one(
    entry: dict[str, object], identified: set[str]
) -> None:
    """Doubts are settled by the field that new_job sends, wherever it is nested, and no other."""
    found = read({"jobs": [{"job_id": "a", **entry}, {"job_id": "b"}]})
    assert [("a", identified), ("b", set())] == [
        (each.job_id, set(each.identifiers)) for each in found.entries
    ]


def test_an_id_that_is_the_customers_own_is_no_job_id() -> None:
    """A customer's own id is not taken for a job id."""
    assert [(None, {"ours"})] == shown({"jobs": [{"id": "ours", "uuid": "a", **OURS}]})


def test_everything_that_a_job_shows_is_kept() -> None:
    """A job is recognised by its address, too, wherever that stands."""
    video = {"video": {"url": "https://example.org/a.mp4?x=1"}, "title": "no address"}
    job = {"job_id": "a", "job_status": "queued", "request": {"media": {**video, **OURS}}}
    urls = frozenset({"https://example.org/a.mp4?x=1"})
    expected = Entry(job_id="a", status="queued", identifiers=frozenset({"ours"}), urls=urls)
    assert (expected,) == read({"jobs": [job]}).entries


def test_mentions_of_one_job_are_united() -> None:
    """A job that stands in two arrays is one job with all that either of them shows."""
    first = {"job_id": "a", "url": "https://example.org/a.mp4"}
    document = {"all": [first], "waiting": [{"job_id": "a", "status": "queued", **OURS}]}
    (entry,) = read(document).entries
    assert "queued" == entry.status
    assert frozenset({"ours"}) == entry.identifiers
    assert frozenset({first["url"]}) == entry.urls


def test_a_job_id_is_kept_as_the_table_keeps_it() -> None:
    """A strange job id is recognised as the one that a video has."""
    (entry,) = read([{"job_id": "a\0\ud800" + "x" * 3000}]).entries
    assert "a\ufffd\ufffd" + "x" * 1997 == entry.job_id


@pytest.mark.parametrize("document", [{}, [], {"jobs": []}, "text", 5, None, {"errors": {}}])
def test_json_without_jobs_is_an_empty_list(document: object) -> None:
    """A key without jobs works all the same."""
    assert () == read(document).entries


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
        b'{"jobs": [{"job_id": "a"}], "jobs": []}',
        b'{"jobs": [{"job_id": "a", "job_id": "b"}]}',
    ],
)
def test_what_is_not_json_is_no_list(body: bytes) -> None:
    """A proxy's page, half an answer, an attack on the parser and an answer that hides a part of
    itself are told apart from a list.
    """
    assert listing(body) is None


@pytest.mark.parametrize("count", [10, 16, 20, 25, 32, 50, 64, 100, 128, 150, 1000, 1024])
def test_a_full_page_is_perhaps_a_part(count: int) -> None:
    """A list of a round number of jobs counts as a part only."""
    jobs = [{"job_id": str(number)} for number in range(count)]
    assert f"it shows {count} jobs, a full page" == read({"jobs": jobs}).paged
    assert read({"done": jobs, "waiting": [{"job_id": "more"}]}).paged is not None
    assert read({"jobs": [*jobs, {"job_id": "more"}]}).paged is None


@pytest.mark.parametrize(
    "sign",
    [
        {"next": "https://example.org/list_jobs?page=2"},
        {"links": {"next": "abc"}},
        {"cursor": "abc"},
        {"continuation": "abc"},
        {"nextPageToken": "abc"},
        {"has_more": True},
        {"truncated": True},
        {"total": 3},
        {"Total_Count": "3"},
        {"total": 3.5},
        {"total": 10**400},
        {"total": float("inf")},
        {"page": 2},
        {"pages": 2},
        {"offset": 1},
        {"limit": 2},
        {"n_jobs": 2},
    ],
)
def test_signs_of_paging_are_seen(sign: dict[str, object]) -> None:
    """A part of a list proves no absence, however the API says that it is one."""
    jobs = [{"job_id": "a"}, {"job_id": "b"}]
    assert read({"jobs": jobs, **sign}).paged is not None
    assert read({"meta": {"paging": sign}, "jobs": jobs}).paged is not None
    assert read([{"jobs": jobs, **sign}]).paged is not None


@pytest.mark.parametrize(
    "sign",
    [
        {"next": None},
        {"next": ""},
        {"links": {"next": None}},
        {"cursor": ""},
        {"has_more": False},
        {"has_more": "false"},
        {"total": 2},
        {"total": "2"},
        {"total": "many"},
        {"total": [5]},
        {"count": 2},
        {"page": 1},
        {"offset": 0},
        {"limit": 1000},
        {"status": "ok"},
    ],
)
def test_a_whole_list_has_no_sign_of_paging(sign: dict[str, object]) -> None:
    """A list that says of itself that it is whole can prove an absence."""
    assert read({"jobs": [{"job_id": "a"}, {"job_id": "b"}], **sign}).paged is None


def test_what_a_job_says_of_itself_is_no_paging() -> None:
    """A job with frames to count does not make its list a part."""
    job = {"total_frames": 5000, "next": "step"}
    jobs = [{"job_id": "a", "media": job}, {"id": "b", "media": job}]
    assert read({"jobs": jobs}).paged is None


def test_a_shape_has_names_and_types_and_no_values() -> None:
    """Law 11: a log shows how an unknown list looks, and nothing of what stands in it."""
    document = {
        "jobs": [{"job_id": "secret", "n": 5, "f": 1.5, "ok": True, "none": None}],
        "https://example.org/?secret": {"a": {"b": {"c": {"d": {"e": {"secret": 1}}}}}},
        "empty": [],
    }
    assert (
        "{jobs: [{job_id: str, n: int, f: float, ok: bool, none: null}], "
        "…: {a: {b: {c: {d: {e: {…}}}}}}, empty: []}"
    ) == read(document).shape


def test_a_shape_is_short() -> None:
    """A list that names everything differently does not fill the log."""
    document = {chr(97 + n % 26) * (n // 26 + 1): n for n in range(900)}
    assert SHAPE_LIMIT == len(read(document).shape)


@given(
    st.recursive(
        st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["job_id", "customer_media_info", "id", "x", "next", "total", "page", "limit"]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_any_json_is_read(document: object) -> None:
    """Whatever the shape, reading it ends in a list, and every identifier in it is seen."""
    found = read(document)
    seen = {identifier for entry in found.entries for identifier in entry.identifiers}
    assert _identifiers(document) <= seen


def _identifiers(value: object) -> set[str]:
    """Return what stands as a text in ``customer_media_info.id``, anywhere."""
    if isinstance(value, list):
        return set().union(*map(_identifiers, value))
    if not isinstance(value, dict):
        return set()
    info = value.get("customer_media_info")
    found = info.get("id") if isinstance(info, dict) else None
    own = {found} if isinstance(found, str) and found else set()
    return own.union(*map(_identifiers, value.values()))


@given(st.binary(max_size=40))
def test_any_bytes_are_read(body: bytes) -> None:
    """No answer of the API makes the reading of its list fail."""
    assert isinstance(listing(body), Listing | None)
