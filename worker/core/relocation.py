"""The mark of a queue that is moving or has moved: what it says, and whether a move may go on.

A source that has moved is marked with the name of the new place alone. Before that, either side of
a move says that it is unfinished, so that a half copy is never worked on.
"""

from dataclasses import dataclass

_FROM = "unfinished: from "
_TO = "unfinished: to "

FINISH = "the same valossa-ingest move again finishes it"
NAME_IT = "name that one with --database or WORKER_DATABASE_URL"


def copy_of(source: str) -> str:
    """The mark of a target that is not whole yet."""
    return f"{_FROM}{source}"


def on_its_way(target: str) -> str:
    """The mark of a source whose copy is not whole yet."""
    return f"{_TO}{target}"


def sentence(mark: str) -> str:
    """What a mark means and the way out, as the end of a sentence about the database."""
    if mark.startswith(_FROM):
        return f"is an unfinished copy of {mark.removeprefix(_FROM)}: {FINISH}"
    if mark.startswith(_TO):
        target = mark.removeprefix(_TO)
        return f"is moving to {target}, which is not whole yet: {FINISH}; then {NAME_IT}"
    return f"has moved to {mark}: {NAME_IT}"


def not_empty(target: str) -> str:
    """Why nothing can be moved there, with the way out."""
    return f"database {target} holds videos already: name an empty one with --to"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveState:
    """A move as its marks are found: the names of both places, the mark of either, and whether the
    target is empty.
    """

    source: str
    target: str
    source_mark: str | None
    target_mark: str | None
    target_empty: bool

    @property
    def done(self) -> bool:
        """Whether the whole queue is over there already."""
        there = self.target_mark is None and not self.target_empty
        return self.source_mark == self.target and there

    @property
    def obstacle(self) -> str | None:
        """Why it must not go on, with the way out; None if it may begin, or continue."""
        if self.source_mark not in {None, self.target, on_its_way(self.target)}:
            return f"database {self.source} {sentence(self.source_mark or '')}"
        if self.target_mark not in {None, copy_of(self.source)}:
            return f"database {self.target} {sentence(self.target_mark or '')}"
        if self.done:
            return None
        if self.source_mark == self.target and self.target_mark is None:
            return (
                f"database {self.source} has moved to {self.target}, which is empty now: restore a "
                "backup of it; what ran there is not known here, and would be bought twice"
            )
        return self._in_the_way

    @property
    def _in_the_way(self) -> str | None:
        if self.target_empty or (self.source_mark and self.target_mark):
            return None
        if self.target_mark is not None:
            return (
                f"database {self.target} holds a part of an older copy of {self.source}, which has "
                "been worked on since: delete it, or name another with --to"
            )
        return not_empty(self.target)
