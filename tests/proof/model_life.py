"""Define the steps of the model test: each method is one actor's, possible at any moment."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlsplit

from hypothesis import event
from sqlalchemy import Connection

from tests.parts import SETTINGS
from tests.proof.model import CLEAR, DENIAL, SETTLE_SECONDS, UNCLEAR, WHOLE, Shown, accepted
from tests.proof.model_hosts import BAD, link, wrongly_held
from tests.proof.model_jobs import LIST, STATUS, Stop, misread, told
from tests.proof.model_laws import Found, broken, open_doubts, unlawful
from tests.proof.model_workers import HOSTS, Attempt, World
from worker.core.job_list import Listing, Unlisted
from worker.core.verdict import VerdictState, judge
from worker.runner.transaction import QueueTransaction
from worker.runner.verdicts import JudgedDoubt
from worker.snapshot import take
from worker.store import changes, hosts
from worker.store.search import Filter

T = TypeVar("T")

JOBS = "SELECT * FROM jobs ORDER BY job_id"
HELD = "SELECT id FROM videos WHERE held_host IS NOT NULL"
COUNTED = "SELECT held_hosts FROM account"
CALM = {VerdictState.WORKING, VerdictState.IDLE}
WAITS = {*CALM, VerdictState.WAITING}


class Life:
    """Workers, an API, people and clocks around a new queue."""

    def __init__(self, address: str) -> None:
        self.world = World(address)
        self.shown: list[tuple[Listing | Unlisted, datetime]] = []
        self.actor = "work"
        self.held = 0
        self.ends: dict[str, str] = {}
        self._settings = replace(SETTINGS, database_url=address, on_doubt="reconcile")

    # People and other programs

    def insert(self, count: int, name: str | None, *, again: bool) -> None:
        """Insert a row by plain SQL, perhaps with a known address."""
        for _ in range(count):
            number = 1 if again else len(self.world.rows()) + 1
            self.world.plain.execute(
                "INSERT INTO videos (url, media_id, due_at) VALUES (?, ?, ?)",
                link(number),
                name,
                "2026-01-01 00:00:00",
            )

    def retry(self, pick: int, *, may: bool) -> None:
        """Retry a video, as a person does."""
        self.actor = "retry, may buy twice" if may else "retry"
        video = self._video(pick, "failed", "cancelled", *(["in_doubt"] if may else []))
        doubted = {v for v, attempts in open_doubts(self._facts()).items() if attempts}
        done = self.world.ask(
            lambda c: changes.retry(
                c, Filter(ids=(video,)), doubts=may, now=self.world.time.wall, who="ann"
            )
        )
        if done and may and video in doubted:
            self.world.words.may_buy_twice.add(video)

    def cancel(self, pick: int) -> None:
        """Cancel a video, as a person does."""
        self.actor, ids = "cancel", Filter(ids=(self._video(pick),))
        self.world.ask(lambda c: changes.cancel(c, ids, self.world.time.wall, "ann"))

    def resolve(self, pick: int, how: str) -> None:
        """Resolve a doubt, as a person does: rightly, wrongly or not at all."""
        self.actor, words, video = "resolve", self.world.words, self._video(pick, "in_doubt")
        own = [job.job_id for job in self.world.book.of(video)]
        job_id = {"gives up": None, "looks": next(iter(own), None), "errs": f"word-{video}"}[how]
        if how == "looks" and (job_id is None or self._holder(job_id) is not None):
            return
        if self._holder(job_id) is not None:
            return
        if self.world.ask(lambda c: changes.resolve(c, video, job_id, self.world.time.wall, "ann")):
            (words.given_up if job_id is None else words.named).add(video)

    def buy_elsewhere(self, name: str | None) -> None:
        """Submit a job with the same key from another program."""
        jobs = self.world.book.jobs
        self.world.book.make(
            None, name, f"https://else.example/{len(jobs)}.mp4", self.world.time.seconds
        )

    # Workers

    def work(self, worker: int, room: int) -> None:
        """Commit one transaction: settle, expire, claim."""
        self.actor = "work"
        self.world.work(worker, room)

    def die(self, worker: int, room: int | None) -> None:
        """Kill a worker between two transactions or within one."""
        self.world.die(worker, room)

    def send(self, pick: int) -> None:
        """Start a request, unless its claim is too old."""
        if held := self.world.begun(yet=False):
            self.world.send(_any(held, pick))

    def move(self, pick: int, answer: int | None, *, arrives: bool, spent: bool) -> None:
        """Accept a request, answer it, do both, or lose its answer."""
        flying = self.world.begun(yet=True)
        if not flying:
            return
        attempt = _any(flying, pick)
        if arrives and attempt.job is None:
            self.world.arrive(attempt)
        if answer is not None:
            self._answer(attempt, answer, spent=spent)

    def serve(self, worker: int, room: int) -> None:
        """Claim, send, accept and settle."""
        self._serve(worker, room)

    def attempt(self, worker: int, answer: int, *, made: bool, lonely: bool) -> None:
        """End a request in any way, alone or among others that are served."""
        self.actor = "work"
        if not lonely:
            self._serve(worker, 1)
        for attempt in self.world.work(worker, 1):
            self.world.send(attempt)
            if made:
                self.world.arrive(attempt)
            self._answer(attempt, answer)
        self.world.work(worker, 0)
        if not lonely:
            self._serve(worker, 1)

    # Hosts

    def darken(self) -> None:
        """Let the jobs of the bad host end as failed downloads, and be asked about."""
        for job in self.world.book.jobs:
            if urlsplit(job.url).netloc == BAD:
                job.become("error")
        self.follow(0, "truth", WHOLE)

    def release(self) -> None:
        """Release the bad host, as a person does."""
        self.actor = "release"
        self.world.ask(lambda c: hosts.release(c, BAD, self.world.time.wall))

    # Time

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.pass_seconds(seconds)

    def jump(self, hours: int) -> None:
        """Set the wall clock; forward not twice within a quarter of an hour."""
        world = self.world
        calm = world.jumped_at is None or world.time.seconds - world.jumped_at > 900
        if abs(world.hours + hours) <= 1 and (hours < 0 or calm):
            world.jump(hours)

    # The list

    def ask(self, shown: Shown) -> None:
        """Request the list; its verdicts are written later, or never."""
        self.shown.append((self._listed(shown), self.world.time.wall))

    def _listed(self, shown: Shown) -> Listing | Unlisted:
        if self.world.jumped_at is not None:  # then its seconds cannot be told from the clock's
            shown = replace(shown, late=min(shown.late, 150), last=0, staggered=False)
        return self.world.book.listed(shown, self.world.time.seconds)

    def judge(self, pick: int) -> None:
        """Write the verdicts of a list."""
        self.actor = "judge"
        if not self.shown:
            return
        listed, asked_at = self.shown.pop(pick % len(self.shown))

        def write(transaction: QueueTransaction, connection: Connection) -> list[JudgedDoubt]:
            assert transaction.verdicts is not None
            now = self.world.time.wall
            return transaction.verdicts.write(connection, listed, asked_at, now)

        for finding in self.world.judge(write):
            event(f"{type(finding.verdict).__name__}{', look-up' if finding.is_recheck else ''}")

    def reconcile(self, shown: Shown, *, settled: bool) -> None:
        """Do both at once, perhaps when doubts are old enough."""
        if settled:
            self.world.pass_seconds(SETTLE_SECONDS)
        self.ask(shown)
        self.judge(len(self.shown) - 1)

    # Jobs

    def become(self, pick: int, status: str) -> None:
        """Let a job go on at the API."""
        if jobs := self.world.book.jobs:
            _any(jobs, pick).become(status)

    def question(self, worker: int, word: str, shown: Shown) -> None:
        """Begin a question about jobs, or take its next step."""
        self.actor, world = "judge", self.world

        def answer(stop: Stop) -> object:
            if stop.purpose == STATUS:
                assert stop.job_id is not None
                job = world.book.find(stop.job_id)
                return told(job, word, world.time.wall, world.time.seconds)
            return self._listed(shown) if stop.purpose == LIST else None

        world.ask_about_jobs(worker, answer)

    def follow(self, worker: int, word: str, shown: Shown) -> None:
        """Ask whole questions until no more is due."""
        self.world.pass_seconds(70)
        self._follow(worker, word, shown)

    def _follow(self, worker: int, word: str, shown: Shown) -> None:
        for _ in range(2 * len(self.world.book.jobs) + 2):
            asks = False
            while True:
                self.question(worker, word, shown)
                held = self.world.questions[worker]
                if held is None or held.stop is None:
                    break
                asks |= held.stop.purpose in {STATUS, LIST}
            if not asks:
                return
            self.world.pass_seconds(1)

    def hold(self) -> None:
        """After each step, by the book and the rows; after each third one also the verdict."""
        world = self.world
        self.held += 1
        if self.held % 3 == 0:
            facts = world.ask(lambda c: take(c, self._settings, world.time.wall)).facts
            for alive in (0, 1):
                state = judge(replace(facts, alive=alive)).state
                assert state not in CALM or not world.stands_still(), f"law 18: {facts}"
                assert state not in WAITS or not world.rows(HELD), f"law 18: held, {facts}"
        rows, steps = world.rows(), world.rows("SELECT * FROM steps")
        known = world.time.seconds if world.jumped_at is None else None
        world.plain.execute("DELETE FROM steps")
        found = [
            *unlawful(steps, self.actor),
            *broken(rows, self._facts(), world.book, world.words),
            *wrongly_held(rows, world.rows(HOSTS), world.rows(COUNTED)[0]["held_hosts"]),
            *misread(world.rows(JOBS), rows, world.book, self.ends, known),
        ]
        assert [] == found, found

    def come_to_rest(self) -> None:
        """Kill every worker and let a new one drain the queue against a healthy API."""
        world = self.world
        for worker in range(3):
            world.die(worker, None)
        unfinished = "SELECT * FROM videos WHERE state IN ('pending', 'submitting')"
        for _ in range(4):
            world.pass_seconds(4_000)
            self.release()
            self.reconcile(WHOLE, settled=False)
            self.hold()
            world.pass_seconds(60)  # what the list proves absent is due again after a backoff
            while world.rows(f"{unfinished} AND due_at <= '{self._now()}'") and self._serve(0, 3):
                world.pass_seconds(1)
            self.hold()
        self._come_to_an_end()
        left = [dict(row) for row in world.rows(unfinished)]
        assert [] == left, "lost: nothing will ever work it off"
        hidden = "SELECT id FROM videos WHERE state = 'in_doubt' AND media_id IS NULL"
        shown = [row["id"] for row in world.rows(hidden) if len(world.book.of(row["id"])) == 1]
        assert [] == shown, (
            f"videos {shown} are in doubt, though the list shows their jobs and no others"
        )

    def _come_to_an_end(self) -> None:
        """End every job at the API; the workers then know each end of a job that is there."""
        world = self.world
        for job in world.book.jobs:
            job.become("finished")
        for _ in range(8):
            world.pass_seconds(1_000)
            self._follow(0, "truth", WHOLE)
            self.hold()
        there = {job.job_id for job in world.book.jobs if not job.lost}
        still = [r["job_id"] for r in world.rows(JOBS) if r["ended_as"] is None]
        assert not there.intersection(still), f"law 15: the ends of {still} are seen by nobody"

    def _serve(self, worker: int, room: int) -> int:
        """Let so many be accepted at most; how many were."""
        self.actor = "work"
        attempts = self.world.work(worker, room)
        for attempt in attempts:
            self.world.send(attempt)
            self.world.arrive(attempt)
            self._answer(attempt, 0)
        self.world.work(worker, 0)
        return len(attempts)

    def _answer(self, attempt: Attempt, answer: int, *, spent: bool = True) -> None:
        """Answer in any way that the truth allows."""
        if attempt.job is not None:
            said = _any((accepted(attempt.job.job_id), *UNCLEAR, DENIAL), answer)
        else:
            others = self.world.rows("SELECT job_id FROM videos WHERE job_id LIKE 'job-%'")
            wrong = (accepted(row["job_id"]) for row in others[:1])
            said = _any((*CLEAR, *UNCLEAR, *wrong), answer)
        self.world.end(attempt, said, spent=spent)

    def _video(self, pick: int, *states: str) -> int:
        """Return a video, in one of these states if there is any."""
        rows = self.world.rows()
        return int(_any([row for row in rows if row["state"] in states] or rows, pick)["id"])

    def _holder(self, job_id: str | None) -> int | None:
        return None if job_id is None else self.world.ask(lambda c: changes.holder_of(c, job_id))

    def _facts(self) -> list[Found]:
        return self.world.rows("SELECT * FROM history ORDER BY id")

    def _now(self) -> str:
        return f"{self.world.time.wall:%Y-%m-%d %H:%M:%S}"


def _any(choices: Sequence[T], pick: int) -> T:
    return choices[pick % len(choices)]
