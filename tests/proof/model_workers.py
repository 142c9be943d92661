"""The workers of the model test: transactions on one real database, and the attempts in hand.

Each verb is one step that a process can take between two transactions of others, or its death.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from tests.conftest import Hands
from tests.parts import transaction
from tests.plain import is_server, session
from tests.proof.model import CLEAR, SETTLE_SECONDS, Book, Job, Say
from tests.proof.model_hosts import passed
from tests.proof.model_jobs import Question, Stop
from tests.proof.model_laws import WATCH, Found, Words, miscounted
from tests.proof.model_tables import connected
from worker.core.classify import Withheld, classify
from worker.core.model import Accepted, Claim, Outcome, Result, Start, TryLater
from worker.runner.model import Committed
from worker.runner.transaction import QueueTransaction

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class Attempt:
    """A claim in a worker's hands: not begun, on its way, or over. ``job``: what it made."""

    start: Start
    sent_at: float | None = None
    started_at: datetime | None = None
    job: Job | None = None
    outcome: Outcome | None = None

    @property
    def claim(self) -> Claim:
        """Return its claim."""
        return self.start.claim

    @property
    def waits(self) -> bool:
        """Return True if the attempt has not begun."""
        return self.sent_at is None and self.outcome is None

    @property
    def flies(self) -> bool:
        """Return True if the request is in flight."""
        return self.sent_at is not None and self.outcome is None


class Dying(Exception):  # noqa: N818 - no error but a death
    """A process ends before its transaction does."""


HOSTS = "SELECT * FROM hosts ORDER BY host"


@dataclass
class World:
    """Everything at one moment. ``hands``: the attempts of each worker that lives; ``orphans``:
    requests on their way whose worker has died.
    """

    address: str
    time: Hands = field(default_factory=Hands)
    book: Book = field(default_factory=Book)
    words: Words = field(default_factory=Words)
    orphans: list[Attempt] = field(default_factory=list)
    hours: int = 0
    jumped_at: float | None = None
    born: int = 0

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        *self._sessions, self._people = [connected(self.address) for _ in range(4)]
        for each in (*self._sessions, self._people):
            self._stack.callback(each.close)
        self.plain = self._stack.enter_context(session(self.address))
        for statement in WATCH["postgresql" if is_server(self.address) else "sqlite"]:
            self.plain.execute(statement)
        self._workers = [self._worker() for _ in self._sessions]
        self.hands: list[list[Attempt]] = [[] for _ in self._sessions]
        self.questions: list[Question | None] = [None for _ in self._sessions]
        self._claimed: set[tuple[int, int]] = set()

    def _worker(self) -> QueueTransaction:
        self.born += 1
        return transaction(
            self.time.clock,
            worker=f"worker-{self.born}",
            timeout_seconds=TIMEOUT_SECONDS,
            on_doubt="reconcile",
            doubt_settle_seconds=float(SETTLE_SECONDS),
        )

    def close(self) -> None:
        """Let go of the database."""
        self._stack.close()

    def ask(self, work: Callable[[Connection], T]) -> T:
        """Return a person's transaction."""
        return self._people.transact(work)

    def judge(self, work: Callable[[QueueTransaction, Connection], T]) -> T:
        """Return a transaction of the first worker's reconciler."""
        return self._sessions[0].transact(lambda connection: work(self._workers[0], connection))

    def work(self, worker: int, room: int) -> list[Attempt]:
        """Write what is over and claim; the attempts that this put into the worker's hands."""
        over = [attempt for attempt in self.hands[worker] if attempt.outcome]
        before, hosts = {row["id"]: row for row in self.rows()}, self.rows(HOSTS)
        done = self._written(worker, over, room)
        after = {row["id"]: row for row in self.rows()}
        self.hands[worker] = [each for each in self.hands[worker] if not each.outcome]
        for attempt in over:
            self._remember(attempt)
            its = attempt.claim.video_id
            assert attempt.outcome is not None
            wrong = [*miscounted(attempt.claim, attempt.outcome, before[its], after[its])]
            assert [] == wrong, wrong
        new = [Attempt(start) for start in done.claimed.starts]
        now = f"{self.time.wall:%Y-%m-%d %H:%M:%S.%f}"
        wrong = [*passed([each.claim for each in new], hosts, self.rows(HOSTS), now)]
        assert [] == wrong, wrong
        for attempt in new:
            number = (attempt.claim.video_id, attempt.claim.attempt)
            assert number not in self._claimed, f"law 2: {number} was claimed twice"
            self._claimed.add(number)
        self.hands[worker] += new
        left = "SELECT id FROM videos WHERE state = 'submitting' AND lease_until <= ?"
        assert [] == self.plain.execute(left, now), "law 4: a lease ran out unseen"
        return new

    def _written(
        self, worker: int, over: list[Attempt], room: int, *, dying: bool = False
    ) -> Committed:
        notes = [
            Result(claim=each.claim, outcome=each.outcome, started_at=each.started_at)
            for each in over
            if each.outcome is not None
        ]
        self._free_pace()

        def write(connection: Connection) -> Committed:
            done = self._workers[worker].write(connection, notes, room)
            if dying:
                raise Dying
            return done

        return self._sessions[worker].transact(write)

    def _free_pace(self) -> None:
        """Let everybody claim and ask: the pace and its pauses have tests of their own."""
        free = "UPDATE account SET next_start_at = ?, cool_down_until = NULL, pace_cut_at = NULL"
        self.plain.execute(free, f"{self.time.wall:%Y-%m-%d %H:%M:%S}")

    def _remember(self, attempt: Attempt) -> None:
        """Check that the reported outcomes are on disk."""
        if isinstance(attempt.outcome, Accepted):
            self.words.told.add(attempt.outcome.job_id)
        if isinstance(attempt.outcome, TryLater) and attempt.job is not None:
            attempt.job.denied = True

    def die(self, worker: int, room: int | None) -> None:
        """End a process, within its next transaction where it has room for one."""
        if room is not None:
            over = [attempt for attempt in self.hands[worker] if attempt.outcome]
            with suppress(Dying):
                self._written(worker, over, room, dying=True)
        self.orphans += [attempt for attempt in self.hands[worker] if attempt.flies]
        self.hands[worker] = []
        if question := self.questions[worker]:
            question.die()
        self.questions[worker] = None
        self._workers[worker] = self._worker()

    def ask_about_jobs(self, worker: int, answer: Callable[[Stop], object]) -> None:
        """Begin a question of this worker, or take the next step of the one in hand."""
        question = self.questions[worker]
        if question is None:
            self._free_pace()
            question = Question(self._workers[worker], self._sessions[worker].transact)
        else:
            assert question.stop is not None
            question.step(answer(question.stop))
        self.questions[worker] = question if question.stop else None

    def send(self, attempt: Attempt) -> None:
        """Begin, unless too little of the lease is left by one of the clocks (law 4)."""
        left = min(
            attempt.start.lease_ends - self.time.seconds,
            (attempt.claim.lease_until - self.time.wall).total_seconds(),
        )
        if left < TIMEOUT_SECONDS + 5:
            attempt.outcome = classify(Withheld("too few seconds of the lease were left"))
        else:
            attempt.sent_at, attempt.started_at = self.time.seconds, self.time.wall

    def arrive(self, attempt: Attempt) -> None:
        """Make the job at the API."""
        claim = attempt.claim
        attempt.job = self.book.make(
            claim.video_id, claim.request_id, claim.video.url, self.time.seconds
        )

    def end(self, attempt: Attempt, said: Say, *, spent: bool = True) -> None:
        """End the exchange with its answer; no more of it arrives."""
        assert attempt.job is None or said not in CLEAR or said.status == 500
        outcome = classify(said.exchange(self.time.wall))
        if isinstance(outcome, TryLater) and not spent:
            outcome = replace(outcome, spent=False)
        attempt.outcome = outcome

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass; workers give up requests in flight for too long."""
        self.time.pass_seconds(seconds)
        for attempt in self.begun(yet=True):
            if attempt.sent_at is not None and self._aged(attempt.sent_at):
                self.end(attempt, Say(0))
        self.orphans = [attempt for attempt in self.orphans if attempt.flies]

    def _aged(self, sent_at: float) -> bool:
        return self.time.seconds - sent_at >= TIMEOUT_SECONDS

    def jump(self, hours: int) -> None:
        """Set the wall clock."""
        self.time.wall += timedelta(hours=hours)
        self.hours += hours
        if hours > 0:
            self.jumped_at = self.time.seconds

    def begun(self, *, yet: bool) -> list[Attempt]:
        """Return every attempt on its way, or every claim that has not begun."""
        held = [attempt for hand in (*self.hands, self.orphans) for attempt in hand]
        return [attempt for attempt in held if (attempt.flies if yet else attempt.waits)]

    def stands_still(self) -> bool:
        """Return True if a video is due, and nothing has moved or begun for ten minutes."""
        since = f"{self.time.wall - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}"
        due = "SELECT 1 FROM videos WHERE state = 'pending' AND due_at < ?"
        moved = (
            "SELECT 1 FROM history WHERE at >= ? UNION ALL SELECT 1 FROM account WHERE "
            "next_start_at >= ? UNION ALL SELECT 1 FROM videos WHERE state = 'submitting' "
            "AND updated_at >= ?"
        )
        stirs = self.plain.execute(moved, since, since, since)
        return bool(self.plain.execute(due, since) and not stirs)

    def rows(self, sql: str = "SELECT * FROM videos ORDER BY id") -> list[Found]:
        """Return rows as any program sees them."""
        return [*self.plain.rows(sql)]
