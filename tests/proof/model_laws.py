"""The laws that the model test holds after every step, by the API's book and the table's own rows.

Shares no rule with the worker: what is in doubt is counted here anew from the history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.proof.model import Book
from worker.core.model import Accepted, Claim, InDoubt, Outcome, Refused, TryLater

Found = Mapping[str, Any]
"""A row as any program finds it."""

STEPS = """
CREATE TABLE steps (video_id INT, old TEXT, new TEXT, old_job TEXT, new_job TEXT, old_claims INT,
                    new_claims INT, old_attempts INT, new_attempts INT);
"""
NOTE = """
INSERT INTO steps VALUES (old.id, old.state, new.state, old.job_id, new.job_id, old.claims,
                          new.claims, old.attempts, new.attempts);
"""
BODY = f"BEGIN {NOTE} RETURN NULL; END"
WATCH = {
    "sqlite": (STEPS, f"CREATE TRIGGER watch AFTER UPDATE ON videos BEGIN {NOTE} END"),
    "postgresql": (
        STEPS,
        f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $${BODY}$$",
        "CREATE TRIGGER watch AFTER UPDATE ON videos FOR EACH ROW EXECUTE FUNCTION note()",
    ),
}
"""Notes every change of a video, also those within one transaction."""

SETTLING = {
    *((old, "submitted") for old in ("submitting", "in_doubt", "pending", "failed", "cancelled")),
    *(("submitting", new) for new in ("pending", "failed", "in_doubt")),
    *(("in_doubt", new) for new in ("pending", "failed")),
}
"""A claim's own ending, late or in time, and a job id that comes when the claim is gone."""

ARROWS = {
    "work": {*SETTLING, ("pending", "submitting")},
    "judge": {
        *(("in_doubt", new) for new in ("submitted", "pending")),
        *(("pending", new) for new in ("submitted", "in_doubt")),
    },
    "retry": {("failed", "pending"), ("cancelled", "pending")},
    "retry, may buy twice": {(o, "pending") for o in ("failed", "cancelled", "in_doubt")},
    "cancel": {("pending", "cancelled"), ("failed", "cancelled")},
    "resolve": {("in_doubt", "submitted"), ("in_doubt", "failed")},
}
"""The transitions of README.md, The life of a video, by the actor that may make them."""

SETTLES = {"late_answer", "found", "absent"}


@dataclass(slots=True)
class Words:
    """The words of people: the videos that may be bought twice, those given up in doubt, and
    those whose job id is a person's; and the job ids that were told to a worker and written.
    """

    may_buy_twice: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)
    told: set[str] = field(default_factory=set)


def broken(
    rows: Sequence[Found], facts: Sequence[Found], book: Book, words: Words
) -> Iterator[str]:
    """Yield every law that does not hold now, with the video that breaks it."""
    doubts = open_doubts(facts)
    known = {row["job_id"] for row in rows} | {fact["job_id"] for fact in facts}
    for job_id in sorted(words.told - known):
        yield f"law 6: {job_id} came to a worker and is written nowhere"
    for row in rows:
        open_ = doubts.get(row["id"], set())
        for law in (*_bought(row, book, open_, words), *_doubted(row, open_, words)):
            yield f"video {row['id']}, {row['state']}: {law}"


def open_doubts(facts: Sequence[Found]) -> dict[int, set[int]]:
    """Return the attempts of each video that are still in doubt."""
    doubts: dict[int, set[int]] = {}
    for fact in facts:
        open_ = doubts.setdefault(fact["video_id"], set())
        if fact["fact"] == "in_doubt":
            open_.add(fact["attempt"])
        elif fact["fact"] in SETTLES:
            open_.discard(fact["attempt"])
        elif fact["fact"] == "resolve" and fact["job_id"] is not None:
            open_ -= {attempt for attempt in open_ if attempt <= fact["attempt"]}
    return doubts


def _bought(row: Found, book: Book, doubts: set[int], words: Words) -> Iterator[str]:
    """Yield each video bought twice, and each purchase that the table has lost."""
    video, jobs = row["id"], [job for job in book.of(row["id"]) if not job.denied]
    if len(jobs) > 1 and video not in words.may_buy_twice:
        yield f"bought twice, and nobody allowed it: {[job.job_id for job in jobs]}"
    if row["state"] in {"pending", "failed", "cancelled"} and jobs and not doubts:
        yield f"law 3: the book has {jobs[0].job_id}, and nothing says that it may"
    own = {job.job_id for job in book.of(video)}
    if row["state"] == "submitted" and video not in words.named and row["job_id"] not in own:
        yield f"it holds {row['job_id']}, which is not its own"
    if row["job_id"] is not None and row["state"] not in {"submitted", "submitting"}:
        yield f"law 6: it holds {row['job_id']} and is not submitted"


def _doubted(row: Found, doubts: set[int], words: Words) -> Iterator[str]:
    """Yield a doubt is never passed over but by a person, and columns say what the state says."""
    over = row["state"] in {"failed", "cancelled"}
    allowed = words.may_buy_twice | (words.given_up if over else set())
    if doubts and row["state"] not in {"in_doubt", "submitted"} and row["id"] not in allowed:
        yield f"law 5: attempts {sorted(doubts)} are in doubt still"
    if row["state"] in {"pending", "failed", "cancelled"} and row["claim_token"] is not None:
        yield "law 6: an old claim still holds it"
    if row["job_id"] is None and row["submitted_at"] is not None:
        yield "it has no job, but a moment at which it was handed in"
    if row["claims"] == 0 and row["attempts"] > 0:
        yield "it was never claimed, but attempted"


def miscounted(claim: Claim, outcome: Outcome, before: Found, after: Found) -> Iterator[str]:
    """Return True if this outcome was not counted as README.md, What an answer means, says.

    Expiry has counted a late outcome already; a lost claim counts nothing.
    """
    late = before["state"] == "in_doubt"
    if before["claim_token"] != claim.token or not (late or before["state"] == "submitting"):
        return
    counted = isinstance(outcome, Accepted | Refused | InDoubt) or (
        isinstance(outcome, TryLater) and outcome.spent
    )
    if after["attempts"] - before["attempts"] != counted - late:
        yield f"video {claim.video_id}: law 7: {outcome} was counted wrongly"


def unlawful(steps: Sequence[Found], actor: str) -> Iterator[str]:
    """Yield every change of this step that its actor may not make."""
    for step in steps:
        arrow = (step["old"], step["new"])
        told = f"video {step['video_id']}, {actor}: {arrow[0]} -> {arrow[1]}"
        if step["old"] != step["new"] and arrow not in ARROWS.get(actor, set()):
            yield f"{told}: no such arrow"
        if step["old_job"] is not None and step["new_job"] != step["old_job"]:
            yield f"{told}: law 6: job {step['old_job']} was forgotten"
        if arrow == ("pending", "pending") and step["old_attempts"] != step["new_attempts"]:
            yield f"{told}: law 7: a wait was counted as an attempt"
        claimed = arrow == ("pending", "submitting")
        if step["new_claims"] - step["old_claims"] != claimed:
            yield f"{told}: law 1: its claims are not numbered"
        if claimed and step["old_job"] is not None:
            yield f"{told}: law 6: a video with a job was claimed"
