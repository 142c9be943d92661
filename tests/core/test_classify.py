import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.core.classify import Answer, NoAnswer, Withheld, classify
from worker.core.model import (
    Accepted,
    AccountRefused,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Released,
    Throttled,
    TryLater,
    WrongAddress,
)

RECEIVED = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
JOB = b'{"job_id": "7f6f9a5e"}'
ERRORS = b'{"errors": [{"message": "Unexpected server error"}]}'
NOON = "Sat, 01 Aug 2026 12:00:00 GMT"
NOON_AND_90_SECONDS = "Sat, 01 Aug 2026 12:01:30 GMT"

# README.md, What an answer means, written again by hand: what a bare status means, without a body.
REFUSED = {400, 406, *range(411, 421), 422, 423, 424, 427, 428, *range(430, 500)}
ACCOUNT = {401, 402, 403}
ADDRESS = {300, 301, 302, *range(304, 400), 404, 405, 407, 410, 421, 426}
THROTTLED = {425, 429}
NO_STATUS = {0, 99, 600, 999}
IN_DOUBT = {*range(100, 300), 303, 408, 409, *range(500, 600)} | NO_STATUS
EVERY_STATUS = {*range(100, 600)} | NO_STATUS
KINDS: list[tuple[set[int], type[Outcome]]] = [
    (REFUSED, Refused),
    (ACCOUNT, AccountRefused),
    (ADDRESS, WrongAddress),
    (THROTTLED, Throttled),
    (IN_DOUBT, InDoubt),
]
BARE = {status: kind for statuses, kind in KINDS for status in statuses}


YEAR = 31_536_000.0


def since_1970(ahead: float, unit: float = 1) -> str:
    """Return the moment so many seconds after the answer, in a unit of which a second has many."""
    return str(int((RECEIVED.timestamp() + ahead) * unit))


def answer(
    status: int, body: bytes = b"", retry_after: str | None = None, date: str | None = None
) -> Outcome:
    """Return what an answer of the API is classified as."""
    return classify(
        Answer(status=status, body=body, received_at=RECEIVED, retry_after=retry_after, date=date)
    )


def kinds(body: bytes, retry_after: str | None = None) -> dict[int, type[Outcome]]:
    """Return the kind of outcome of every status with this body and header."""
    return {status: type(answer(status, body, retry_after)) for status in sorted(EVERY_STATUS)}


def but(kind: type[Outcome], statuses: Iterable[int]) -> dict[int, type[Outcome]]:
    """Return the table of bare statuses, but for those given."""
    return BARE | dict.fromkeys(statuses, kind)


def seconds(status: int, retry_after: str | None, date: str | None = None) -> float | None:
    """Return how long an answer is understood to ask for."""
    outcome = answer(status, ERRORS, retry_after, date)
    assert isinstance(outcome, Throttled | TryLater)
    return outcome.retry_after


def test_the_table_names_every_status_once() -> None:
    """No status from 100 to 599 is missing from the table or has two lines in it."""
    assert EVERY_STATUS == BARE.keys()
    assert len(EVERY_STATUS) == sum(len(statuses) for statuses, _ in KINDS)


def test_every_bare_status_has_its_line() -> None:
    """Any status with an empty body means what the table says of it."""
    assert BARE == kinds(b"")


def test_a_documented_body_tells_a_500_and_a_503_to_be_tried_later() -> None:
    """The documented errors body makes a 500 and a 503 repeatable, and no other status."""
    assert but(TryLater, {500, 503}) == kinds(ERRORS)


def test_a_time_tells_a_503_to_be_tried_later() -> None:
    """A named time makes a 503 repeatable without a body, and no other status."""
    assert but(TryLater, {503}) == kinds(b"", "5")


def test_a_job_id_counts_only_in_a_success() -> None:
    """A job id is a purchase in any 2xx, and means nothing elsewhere."""
    assert but(Accepted, range(200, 300)) == kinds(JOB)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, JOB, Accepted("7f6f9a5e", 200), id="200-accepted"),
        pytest.param(201, JOB, Accepted("7f6f9a5e", 201), id="201-accepted"),
        pytest.param(299, JOB, Accepted("7f6f9a5e", 299), id="299-accepted"),
        pytest.param(
            204, b"", InDoubt("success without a job id: HTTP 204, empty body", 204), id="204"
        ),
        *(
            pytest.param(status, ERRORS, kind(f"HTTP {status}: Unexpected server error", status))
            for kind, statuses in (
                (Refused, (400, 413, 414, 415, 422, 431, 451, 499)),
                (AccountRefused, (401, 402, 403)),
                (WrongAddress, (404, 405, 407, 410, 421, 426, 300, 301, 302, 304, 307, 308, 399)),
                (Throttled, (425, 429)),
                (TryLater, (500, 503)),
                (InDoubt, (100, 101, 102, 199, 303, 408, 409, 501, 502, 504, 511, 599)),
                (InDoubt, (-1, 0, 99, 600, 999, 10**9)),
            )
            for status in statuses
        ),
        pytest.param(503, b"", InDoubt("HTTP 503, empty body", 503), id="503-without-a-time"),
    ],
)
def test_an_outcome_carries_its_status_and_message(
    status: int, body: bytes, expected: Outcome
) -> None:
    """An outcome keeps the status and what the API said, for a person to read."""
    assert expected == answer(status, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "HTTP 400, empty body", id="empty"),
        pytest.param(b" \r\n\t", "HTTP 400, empty body", id="white-space"),
        pytest.param(b'{"errors": [{"message": "No"}]}', "HTTP 400: No", id="documented"),
        pytest.param(
            b'{"errors": [{"message": "No"}, {"message": "Never"}]}',
            "HTTP 400: No; Never",
            id="two-messages",
        ),
        pytest.param(
            b'{"errors": [{"message": "No", "code": 7}], "more": null}',
            "HTTP 400: No",
            id="documented-and-more",
        ),
        pytest.param(b'{"errors": []}', 'HTTP 400: {"errors": []}', id="no-error-in-the-list"),
        pytest.param(b'{"errors": "No"}', 'HTTP 400: {"errors": "No"}', id="errors-as-text"),
        pytest.param(b'{"errors": ["No"]}', 'HTTP 400: {"errors": ["No"]}', id="error-as-text"),
        pytest.param(
            b'{"errors": [{"message": 7}]}',
            'HTTP 400: {"errors": [{"message": 7}]}',
            id="message-as-number",
        ),
        pytest.param(
            b"<html>\n <h1>Bad\n Request</h1></html>",
            "HTTP 400: Bad Request",
            id="html",
        ),
        pytest.param(
            b"<head><style>a {b: c}</style><!-- d --><TITLE>Hotel\n Wi&amp;Fi</TITLE></head>"
            b"<body><script>e()</script>Log in</body>",
            "HTTP 400: Hotel Wi&Fi: Log in",
            id="title",
        ),
        pytest.param(
            b"<p>First</p><title lang=en>Gone</title>", "HTTP 400: Gone: First", id="late-title"
        ),
        pytest.param(b"<title> </title>no", "HTTP 400: no", id="blank-title"),
        pytest.param(b"no <script>x", "HTTP 400: no", id="script-without-an-end"),
        pytest.param(b'{"errors": [{"mess', 'HTTP 400: {"errors": [{"mess', id="cut"),
        pytest.param(b"caf\xe9", "HTTP 400: caf\ufffd", id="not-utf-8"),
        pytest.param(b"[1, 2]", "HTTP 400: [1, 2]", id="array"),
    ],
)
def test_a_message_is_read_from_any_body(body: bytes, message: str) -> None:
    """The documented messages are shown, and the body as it came where it has none."""
    assert Refused(message, 400) == answer(400, body)


@pytest.mark.parametrize("size", [65_536])
@pytest.mark.parametrize(
    "part", ["<script", "<!--", "<title>", "<style>", "<", "</", "<title", "&"]
)
def test_a_page_of_broken_tags_is_read_at_once(part: str, size: int) -> None:
    """No page takes longer than its length: whatever has no end, ends with the page."""
    page = (part * size)[:size].encode()
    assert Refused is type(answer(400, page))


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://login.example/portal?api_key=x#y", "https://login.example/portal"),
        ("/core/2.0/new_job", "/core/2.0/new_job"),
        ("//other.example#y", "//other.example"),
        ("http://[::bad", "http://[::bad"),
        ("?next=x", ""),
    ],
)
def test_a_redirect_names_where_it_points(location: str, place: str) -> None:
    """The message of a 3xx has its Location, without query and fragment."""
    for status, kind in ((301, WrongAddress), (303, InDoubt), (308, WrongAddress)):
        found = classify(
            Answer(status=status, body=b"Moved", received_at=RECEIVED, location=location)
        )
        assert kind(f"HTTP {status}: Moved; it points to {place}", status) == found


def test_only_a_redirect_points() -> None:
    """The Location of another answer says nothing."""
    found = classify(Answer(status=400, body=b"no", received_at=RECEIVED, location="/x"))
    assert Refused("HTTP 400: no", 400) == found


NO_JOB = [
    pytest.param(b"", id="empty"),
    pytest.param(b"   ", id="white-space"),
    pytest.param(b"<html>OK</html>", id="html"),
    pytest.param(b"{job_id: 1}", id="bad-json"),
    pytest.param(b'{"job_id": "7f6f', id="cut-inside-the-id"),
    pytest.param(b'{"job_id": "7f6f9a5e"', id="cut-after-the-id"),
    pytest.param(b'{"job_id": "7f6f9a5e"} <html>', id="more-than-json"),
    pytest.param(b"[" * 100_000, id="deep-array"),
    pytest.param(b'{"a":' * 100_000, id="deep-object"),
    pytest.param(b'{"job_id": ' + b"9" * 10_000 + b"}", id="huge-integer"),
    pytest.param(b'{"job_id": "caf\xe9"}', id="not-utf-8"),
    pytest.param(b"\xff\xfe\xfd", id="no-text"),
    pytest.param(b'["job_id"]', id="array"),
    pytest.param(b'[{"job_id": "7f6f9a5e"}]', id="array-of-the-object"),
    pytest.param(b'"7f6f9a5e"', id="string"),
    pytest.param(b"null", id="null"),
    pytest.param(b"{}", id="empty-object"),
    pytest.param(b'{"job_id": ""}', id="empty-id"),
    pytest.param(b'{"job_id": " \\t\\n"}', id="blank-id"),
    pytest.param(b'{"job_id": 7}', id="number-id"),
    pytest.param(b'{"job_id": null}', id="null-id"),
    pytest.param(b'{"job_id": true}', id="true-id"),
    pytest.param(b'{"job_id": ["7f6f9a5e"]}', id="list-id"),
    pytest.param(b'{"Job_Id": "7f6f9a5e"}', id="other-name"),
    pytest.param(b'{"job": {"job_id": "7f6f9a5e"}}', id="deeper"),
    pytest.param(b'{"errors": []}', id="no-error-in-the-list"),
    pytest.param(b'{"errors": [{"message": 7}]}', id="message-as-number"),
    pytest.param(b'{"errors": [{"message": "No"}, "No"]}', id="one-error-as-text"),
    pytest.param(ERRORS, id="documented-errors"),
]


@pytest.mark.parametrize("body", NO_JOB)
def test_a_success_without_a_job_id_is_in_doubt(body: bytes) -> None:
    """A 200 from which no job id can be read is never taken for a purchase, nor for a refusal."""
    outcome = answer(200, body)
    assert InDoubt is type(outcome)
    assert (outcome.message or "").startswith("success without a job id: HTTP 200")


@pytest.mark.parametrize("body", NO_JOB[:-1])
@pytest.mark.parametrize("status", [500, 503])
def test_an_undocumented_server_error_is_in_doubt(status: int, body: bytes) -> None:
    """Only the documented body proves that a failing server made nothing."""
    assert InDoubt is type(answer(status, body))


@pytest.mark.parametrize(
    ("body", "job_id"),
    [
        pytest.param(JOB, "7f6f9a5e", id="bare"),
        pytest.param(b'\r\n {"job_id": "a"}\r\n', "a", id="white-space-around"),
        pytest.param(b'\xef\xbb\xbf{"job_id": "a"}', "a", id="byte-order-mark"),
        pytest.param(b'{"status": {"x": [1]}, "job_id": "a", "n": 1e400}', "a", id="more-fields"),
        pytest.param(b'{"job_id": "not a UUID"}', "not a UUID", id="no-uuid"),
        pytest.param(b'{"job_id": " a "}', " a ", id="kept-as-it-came"),
        pytest.param('{"job_id": "ä€"}'.encode(), "ä€", id="not-ascii"),
        pytest.param(b'{"job_id": "x", "job_id": "a"}', "a", id="named-twice"),
        pytest.param(b'{"job_id": "a", "errors": [{"message": "No"}]}', "a", id="with-errors"),
        pytest.param(json.dumps({"job_id": "a" * 60_000}).encode(), "a" * 60_000, id="long"),
    ],
)
def test_a_complete_object_with_a_job_id_is_a_purchase(body: bytes, job_id: str) -> None:
    """A job id in a complete JSON object is kept as it came, whatever stands beside it."""
    assert Accepted(job_id, 200) == answer(200, body)


@pytest.mark.parametrize("status", [425, 429, 500, 503])
@pytest.mark.parametrize(
    ("retry_after", "date", "expected"),
    [
        pytest.param(None, None, None, id="absent"),
        pytest.param("", None, None, id="empty"),
        pytest.param("  ", None, None, id="blank"),
        pytest.param("0", None, 0.0, id="zero"),
        pytest.param("120", None, 120.0, id="seconds"),
        pytest.param(" 7 ", None, 7.0, id="seconds-in-space"),
        pytest.param("1.5", None, 1.5, id="fraction"),
        pytest.param("0.123456789", None, 0.123456789, id="long-fraction"),
        pytest.param("86400", None, 86_400.0, id="a-day"),
        pytest.param("9" * 13, None, 9_999_999_999_999.0, id="huge"),
        pytest.param("9" * 5_000, None, math.inf, id="absurd"),
        pytest.param("-5", None, None, id="negative"),
        pytest.param("+5", None, None, id="signed"),
        pytest.param("1e3", None, None, id="exponent"),
        pytest.param("5s", None, None, id="with-a-unit"),
        pytest.param("120, 60", None, None, id="two-values"),
        pytest.param("soon", None, None, id="garbage"),
        pytest.param("\u0661\u0662", None, None, id="arabic-digits"),
        pytest.param("\u00b2", None, None, id="superscript-digit"),
        pytest.param("\ud800", None, None, id="lone-surrogate"),
        pytest.param("nan", None, None, id="nan"),
        pytest.param("inf", None, None, id="inf"),
        pytest.param(since_1970(90), None, 90.0, id="moment"),
        pytest.param(since_1970(90, 1e3), None, 90.0, id="moment-in-milliseconds"),
        pytest.param(since_1970(90, 1e6), None, 90.0, id="moment-in-microseconds"),
        pytest.param(since_1970(90, 1e9), None, 90.0, id="moment-in-nanoseconds"),
        pytest.param(since_1970(90) + ".5", None, 90.5, id="moment-with-a-fraction"),
        pytest.param(since_1970(0), None, 0.0, id="moment-now"),
        pytest.param(since_1970(-9 * YEAR), None, 0.0, id="moment-in-the-past"),
        pytest.param(since_1970(YEAR, 1e3), None, YEAR, id="moment-in-a-year"),
        pytest.param(since_1970(90), NOON_AND_90_SECONDS, 0.0, id="moment-by-its-date"),
        pytest.param(
            since_1970(90), "Thu, 01 Jan 1970 00:00:00 GMT", 90.0, id="moment-beside-a-wrong-date"
        ),
        pytest.param("60", "Sat, 01 Jan 1972 00:00:00 GMT", 60.0, id="no-moment-of-a-wrong-date"),
        pytest.param(
            since_1970(-11 * YEAR), None, float(since_1970(-11 * YEAR)), id="no-moment-long-past"
        ),
        pytest.param(
            since_1970(3 * YEAR), None, float(since_1970(3 * YEAR)), id="no-moment-far-ahead"
        ),
        pytest.param(NOON_AND_90_SECONDS, None, 90.0, id="date-by-our-clock"),
        pytest.param(NOON_AND_90_SECONDS, NOON, 90.0, id="date-by-its-date"),
        pytest.param(
            "Tue, 01 Jan 2030 00:00:30 GMT",
            "Tue, 01 Jan 2030 00:00:00 GMT",
            30.0,
            id="date-by-a-clock-years-ahead",
        ),
        pytest.param(NOON, NOON_AND_90_SECONDS, 0.0, id="date-in-the-past"),
        pytest.param("Sat, 01 Aug 2026 11:00:00 GMT", None, 0.0, id="past-by-our-clock"),
        pytest.param(NOON_AND_90_SECONDS, "soon", 90.0, id="date-beside-a-broken-date"),
        pytest.param(NOON_AND_90_SECONDS, "", 90.0, id="date-beside-an-empty-date"),
        pytest.param("Sat, 01 Aug 2026 14:01:30 +0200", NOON, 90.0, id="date-in-a-zone"),
        pytest.param("Sat, 01 Aug 2026 12:01:30 -0000", NOON, 90.0, id="date-of-no-zone"),
        pytest.param("Sat, 99 Aug 2026 12:01:30 GMT", NOON, None, id="no-such-day"),
        pytest.param("Sat, 01 Aug 2026 12:01:30 +9999", NOON, None, id="no-such-zone"),
    ],
)
def test_a_told_time_is_understood(
    status: int, retry_after: str | None, date: str | None, expected: float | None
) -> None:
    """The wait is the one that was told, never shorter, and none where none was told."""
    assert expected == seconds(status, retry_after, date)


@pytest.mark.parametrize("retry_after", [None, "", "soon", "-5", "\u0661"])
def test_an_unreadable_time_does_not_make_a_503_repeatable(retry_after: str | None) -> None:
    """A bare 503 is repeated only where a time to come back can be read."""
    assert InDoubt("HTTP 503, empty body", 503) == answer(503, b"", retry_after)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(False, NotSent("not sent: TimeoutError"), id="before-the-first-byte"),
        pytest.param(
            True, InDoubt("sent, but no answer was read: TimeoutError"), id="after-the-first-byte"
        ),
    ],
)
def test_a_lost_exchange_is_in_doubt_once_sent(*, sent: bool, expected: Outcome) -> None:
    """Only what certainly never left is safe to repeat; the rest is in doubt (law 3)."""
    assert expected == classify(NoAnswer("TimeoutError", sent))


def test_a_withheld_request_is_released() -> None:
    """A request that the last check held back costs the video nothing (law 4)."""
    assert Released("12 s of the lease left") == classify(Withheld("12 s of the lease left"))


ODD = st.sampled_from(["\ud800", "\0", "\u0661", " ", ",", ":", "+", "-", ".", "9", "Aug", "GMT"])
HEADERS = st.none() | st.sampled_from([NOON, "5", "-1"]) | st.lists(st.text() | ODD).map("".join)
DATES = st.datetimes().map(lambda moment: f"{moment:%d %b %Y %H:%M:%S} +2359")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["job_id", "errors"]), inner),
    max_leaves=8,
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode())


@settings(max_examples=300)
@given(st.integers(-10, 1_100), BODIES, HEADERS | DATES, HEADERS | DATES)
@example(200, b'{"job_id": "\\ud800"}', None, None)
def test_whatever_comes_is_an_outcome(
    status: int, body: bytes, retry_after: str | None, date: str | None
) -> None:
    """No status, no body and no header whatever raises, and none falls out of the table."""
    outcome = answer(status, body, retry_after, date)
    usual = BARE.get(status, InDoubt)
    allowed = {usual}
    if 200 <= status <= 299:
        allowed |= {Accepted}
    if status in {500, 503}:
        allowed |= {TryLater}
    assert type(outcome) in allowed
    assert status == outcome.status
    if isinstance(outcome, Throttled | TryLater) and outcome.retry_after is not None:
        assert outcome.retry_after >= 0


@given(st.text(), st.booleans())
def test_every_failure_is_an_outcome(error: str, sent: bool) -> None:  # noqa: FBT001
    """A failed exchange is in doubt if its first byte left, and unsent if not, whatever it says."""
    expected = InDoubt if sent else NotSent
    outcome = classify(NoAnswer(error, sent))
    assert expected is type(outcome)
    assert error in (outcome.message or "")
