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


def test_law_17_bought_addresses_are_of_one_kind_whatever_their_jobs() -> None:
    """Rows that are closed for their addresses are of one kind, whatever their job ids are."""
    jobs = ("abc", "e3e70682-c209-4cac-a29f-6fbed82c07cd", "a job", "7")
    assert 1 == len({kind(bought_already(9, Twin(1, State.SUBMITTED, job))) for job in jobs})
