import pytest

from worker.core.advice import GIVEN_UP, kind, remedy
from worker.core.model import State, Twin
from worker.core.request import bought_already


@pytest.mark.parametrize(
    ("state", "status", "message", "word"),
    [
        (State.IN_DOUBT, None, "sent, but no answer was read", "Portal"),
        (State.IN_DOUBT, 502, "HTTP 502: no", "retry ID --may-buy-twice"),
        (State.FAILED, 502, GIVEN_UP, "cancel ID puts it away"),
        (State.FAILED, None, bought_already(2, Twin(1, State.IN_DOUBT)), "buys it a second time"),
        (State.FAILED, None, "url: signed link ended 2013-05-03", "sign the links anew"),
        (State.FAILED, 401, "HTTP 401: no", "ask Valossa"),
        (State.FAILED, 500, "HTTP 500: no", "retry"),
        (State.FAILED, None, "title: holds a NUL character", "correct what the message names"),
        (State.FAILED, 413, "HTTP 413: large", "shorten"),
        (State.FAILED, 400, "HTTP 400: bad", "correct the values"),
        (State.FAILED, 499, "HTTP 499: what", "correct the values"),
    ],
)
def test_each_kind_of_trouble_has_a_remedy(
    state: State, status: int | None, message: str, word: str
) -> None:
    """Each failure and each doubt has its way out."""
    assert word in remedy(state, status, message)


def test_messages_that_differ_in_the_row_alone_are_of_one_kind() -> None:
    """Messages that differ only in values of the row are of one kind."""
    one = kind("HTTP 400: language 'xx' of https://a.example/1.mp4 at 2026-01-01 10:00:00")
    other = kind("HTTP 400: language 'yy' of https://b.example/2.mp4 at 2025-12-31 09:59:59")
    assert one == other


def test_a_job_in_a_message_makes_no_kind_of_its_own() -> None:
    """Messages that differ only in job and video are of one kind."""
    one = kind(
        "the API answered with job 9b08923d-1111-4222-8333-abcdefabcdef, which video 3 holds"
    )
    other = kind(
        "the API answered with job 51ad3f0c-2222-4222-8333-bcdefabcdefa, which video 40 holds"
    )
    assert one == other
    assert "the API answered with job …, which video … holds" == one


def test_messages_that_say_something_else_are_of_two_kinds() -> None:
    """Messages about different faults are of two kinds."""
    assert kind("HTTP 400: no such language") != kind("HTTP 400: no such gallery")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no (request 1c9d3f)", "no (request a8b2)"),
        ("no (request-id: abcdefgh)", "no (request-id: zyxwvuts)"),
        ("no, requestId=kJhsdKJhsd", "no, requestId=PqWieRuTyu"),
        ('{"error": "no", "request_id": "abc"}', '{"error": "no", "request_id": "xyz"}'),
        ("no [trace=abcdefxyz]", "no [trace=qwertyuio]"),
        ("no; Ref: QWERTY", "no; Ref: ASDFGH"),
        ("no 00-4bf92f3577b34da6-00f067aa-01", "no 00-aaaa2f3577b34da6-11f067ab-01"),
        ("no deadbeef", "no feedfacecafe"),
        ("no 0x7f", "no 0xa0"),
        ("no e1b4c9a2-0000-4000-8000-00000000000a", "no ffffffff-1111-4222-9333-bbbbbbbbbbbb"),
        ("no, at Mon, 05 Jan 2026 12:00:00 GMT", "no, at Tue, 06 Feb 2026 1:00:00 GMT"),
        ("no, at Mon Jan  5 12:00:00 2026", "no, at Sat Dec 13 01:10:20 2025"),
        ("no, at Jan 5, 2026 3:04 PM", "no, at Nov 25, 2025 11:59 AM"),
        ("no, at 2026-01-01T12:00:00.123Z", "no, at 2026-01-01T12:00:01+02:00"),
        ("no, after 12.5 ms", "no, after 1 ms"),
        ("no 'x'", "no 'a b'"),
        ("no \u201cx\u201d", "no \u201ca b\u201d"),
        ("no `x`", "no `y`"),
        ("no s3://bucket/x.mp4", "no s3://other/y.mp4"),
    ],
)
def test_what_differs_from_row_to_row_makes_no_kind(one: str, other: str) -> None:
    """Identifiers, times, traces, numbers and quoted values make no kind of their own."""
    assert kind(f"HTTP 400: {one}") == kind(f"HTTP 400: {other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 400: Bad request: missing field", "HTTP 400: Bad request: no such language"),
        ("HTTP 400: InvalidUrl", "HTTP 400: InvalidLanguage"),
        ('HTTP 400: {"error": "quota"}', 'HTTP 400: {"error": "language"}'),
        ("HTTP 400: error code: QUOTA", "HTTP 400: error code: LANGUAGE"),
        ("HTTP 400, empty body", "HTTP 413, empty body"),
        (
            "HTTP 400: it can't be read, it doesn't end",
            "HTTP 400: it can't be sent, it doesn't end",
        ),
    ],
)
def test_what_a_message_says_makes_its_kind(one: str, other: str) -> None:
    """Words, codes of words and the status make a kind."""
    assert kind(one) != kind(other)


@pytest.mark.parametrize(
    "told",
    [
        "{url}",
        "{host} is unknown",
        "/a%20b/{name}.mp4",
        "/a b/{name}.mp4",
        "file {name}.mp4",
        "{name}",
    ],
)
def test_the_rows_own_values_make_no_kind(told: str) -> None:
    """A row's media id, and its address or a part of that, make no kind."""

    def of(name: str, host: str) -> str:
        url = f"https://{host}/a%20b/{name}.mp4"
        return kind(f"HTTP 400: no {told.format(url=url, host=host, name=name)}", (url, name, 0.5))

    assert of("one", "a.example") == of("other", "b.example")


def test_law_17_bought_addresses_are_of_one_kind_whatever_their_jobs() -> None:
    """Rows that are closed for their addresses are of one kind, whatever their job ids are."""
    jobs = ("abc", "e3e70682-c209-4cac-a29f-6fbed82c07cd", "a job", "7")
    assert 1 == len({kind(bought_already(9, Twin(1, State.SUBMITTED, job))) for job in jobs})
