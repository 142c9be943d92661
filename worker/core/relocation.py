"""Read and write the mark of a queue that moves, and decide if a move may go on.

The mark of a moved source is the name of its target. Until then the marks of both sides say
"unfinished", so that no worker works on half a copy.
"""

from dataclasses import dataclass

_FROM = "unfinished: from "
_TO = "unfinished: to "

FINISH = "the same valossa-ingest move again finishes it"
NAME_IT = "name that one with --database or WORKER_DATABASE_URL"


def copy_of(source: str) -> str:
    """Return the mark of a target that is not complete yet."""
    return f"{_FROM}{source}"


def on_its_way(target: str) -> str:
    """Return the mark of a source whose copy is not complete yet."""
    return f"{_TO}{target}"


def sentence(mark: str) -> str:
    """Return the meaning of a mark and the way out, as the end of a sentence."""
    if mark.startswith(_FROM):
        return f"is an unfinished copy of {mark.removeprefix(_FROM)}: {FINISH}"
    if mark.startswith(_TO):
        target = mark.removeprefix(_TO)
        return f"is moving to {target}, which is not whole yet: {FINISH}; then {NAME_IT}"
    return f"has moved to {mark}: {NAME_IT}"


def not_empty(target: str) -> str:
    """Return the message about a target that is not empty."""
    return f"database {target} holds videos already: name an empty one with --to"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveState:
    """The names and marks of both sides of a move."""

    source: str
    target: str
    source_mark: str | None
    target_mark: str | None
    target_empty: bool

    @property
    def done(self) -> bool:
        """Return True if the whole queue is in the target already."""
        there = self.target_mark is None and not self.target_empty
        return self.source_mark == self.target and there

    @property
    def obstacle(self) -> str | None:
        """Return why the move must not go on, with the way out; None if it may."""
        # 1. The source, or 2. the target, is part of another move. 3. All has moved: no obstacle.
        # 4. The source has moved, but its target is empty. 5. The target holds something else.
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
        if self.target_empty or (self.source_mark and self.target_mark):
            return None
        if self.target_mark is not None:
            return (
                f"database {self.target} holds a part of an older copy of {self.source}, which has "
                "been worked on since: delete it, or name another with --to"
            )
        return not_empty(self.target)
