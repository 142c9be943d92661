from datetime import UTC, datetime
from typing import get_args

import pytest

from worker.core.model import REQUEST_COLUMNS, Fact, Outcome, State, Transition, Video

DUE = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_no_two_outcomes_are_one_fact() -> None:
    """Each kind of outcome is told apart from every other in the history."""
    facts = [kind.fact for kind in get_args(Outcome)]
    assert len(facts) == len(set(facts))


def test_what_happens_later_is_no_outcome() -> None:
    """A fact of the history that is written after an attempt cannot be mistaken for its ending."""
    endings = {kind.fact for kind in get_args(Outcome)}
    expected = endings | {Fact.LATE_ANSWER, Fact.RETRY}
    assert 12 == len(expected)
    assert expected <= set(Fact)


def test_the_request_columns_are_those_of_new_job() -> None:
    """The columns of a request are those of `README.md, Your data`, in their order."""
    expected = (
        "url",
        "media_id",
        "title",
        "description",
        "language",
        "transcript_url",
        "face_min_relative_height",
        "face_gallery_id",
        "email_group",
        "callback_url",
    )
    assert expected == REQUEST_COLUMNS


def test_a_video_needs_only_its_url() -> None:
    """A row that says nothing but its URL is a video with nothing else said."""
    video = Video(url="https://host.example/v.mp4")
    assert [None] * 9 == [getattr(video, column) for column in REQUEST_COLUMNS[1:]]


def test_the_states_are_those_of_the_tables() -> None:
    """A state is stored under its name in `README.md, The life of a video`."""
    expected = ["pending", "submitting", "submitted", "failed", "in_doubt", "cancelled"]
    assert expected == [str(state) for state in State]


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        pytest.param(
            Transition(state=State.SUBMITTED, spent=True, job_id="job"),
            Transition.submit("job"),
            id="submit",
        ),
        pytest.param(
            Transition(state=State.SUBMITTED, spent=False, job_id="job", error="note"),
            Transition.submit("job", "note", spent=False),
            id="submit-by-a-late-answer",
        ),
        pytest.param(
            Transition(state=State.PENDING, spent=False, due_at=DUE, error="why"),
            Transition.postpone("why", DUE),
            id="postpone",
        ),
        pytest.param(
            Transition(state=State.PENDING, spent=False), Transition.release(), id="release"
        ),
        pytest.param(
            Transition(state=State.PENDING, spent=True, due_at=DUE, error="why"),
            Transition.retry("why", DUE),
            id="retry",
        ),
        pytest.param(
            Transition(state=State.FAILED, spent=True, error="why"),
            Transition.fail("why"),
            id="fail",
        ),
        pytest.param(
            Transition(state=State.FAILED, spent=False, error="why"),
            Transition.reject("why"),
            id="reject",
        ),
        pytest.param(
            Transition(state=State.IN_DOUBT, spent=True, error="why"),
            Transition.park("why"),
            id="park",
        ),
        pytest.param(
            Transition(state=State.IN_DOUBT, spent=False, error="why"),
            Transition.park("why", spent=False),
            id="park-unspent",
        ),
    ],
)
def test_each_constructor_is_one_arrow(expected: Transition, actual: Transition) -> None:
    """An arrow out of ``submitting`` sets its state and its count, and nothing that is not its."""
    assert expected == actual
