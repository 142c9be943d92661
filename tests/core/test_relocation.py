import pytest

from worker.core.relocation import MoveState, copy_of, on_its_way, sentence

A, B, C = "sqlite:///a.db", "sqlite:///b.db", "sqlite:///c.db"


def plan(source: str | None, target: str | None, *, empty: bool) -> MoveState:
    """Return a move from A to B whose marks are these."""
    return MoveState(source=A, target=B, source_mark=source, target_mark=target, target_empty=empty)


@pytest.mark.parametrize(
    ("source", "target", "empty"),
    [
        (None, None, True),
        (None, copy_of(A), True),
        (on_its_way(B), copy_of(A), True),
        (on_its_way(B), copy_of(A), False),
        (on_its_way(B), None, True),
        (B, copy_of(A), False),
        (B, copy_of(A), True),
    ],
)
def test_a_move_begins_and_goes_on(source: str | None, target: str | None, *, empty: bool) -> None:
    """A move may begin, and may go on from every point where it was interrupted."""
    assert plan(source, target, empty=empty).obstacle is None
    assert not plan(source, target, empty=empty).done


def test_a_move_that_is_done_is_not_done_again() -> None:
    """A finished move is recognised and not repeated."""
    assert plan(B, None, empty=False).done
    assert plan(B, None, empty=False).obstacle is None


@pytest.mark.parametrize(
    ("source", "target", "empty", "told"),
    [
        (None, None, False, f"database {B} holds videos already: name an empty one with --to"),
        (on_its_way(B), None, False, f"database {B} holds videos already: name an empty one"),
        (None, copy_of(A), False, f"{B} holds a part of an older copy of {A}, which has been"),
        (None, copy_of(C), True, f"database {B} is an unfinished copy of {C}: the same"),
        (None, C, True, f"database {B} has moved to {C}: name that one with --database"),
        (C, None, True, f"database {A} has moved to {C}: name that one with --database"),
        (on_its_way(C), None, True, f"database {A} is moving to {C}, which is not whole yet: the"),
        (copy_of(C), None, True, f"database {A} is an unfinished copy of {C}: the same valossa"),
        (B, None, True, f"{A} has moved to {B}, which is empty now: restore a backup of it"),
    ],
)
def test_a_move_that_would_mix_two_queues_is_refused(
    source: str | None, target: str | None, *, empty: bool, told: str
) -> None:
    """A move that would mix two queues, or two states of one, is refused with the way out."""
    assert told in (plan(source, target, empty=empty).obstacle or "")


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (B, f"has moved to {B}: name that one with --database or WORKER_DATABASE_URL"),
        (on_its_way(B), "finishes it; then name that one with --database or WORKER_DATABASE_URL"),
        (copy_of(A), f"is an unfinished copy of {A}: the same valossa-ingest move again finishes"),
    ],
)
def test_a_mark_says_where_to_and_what_to_do(mark: str, told: str) -> None:
    """A mark names the other place and the command that helps."""
    assert told in sentence(mark)
