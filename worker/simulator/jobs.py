"""Let the accepted jobs live, and enter their ends in the book before any answer shows them."""

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from worker.simulator import lists, lives
from worker.simulator.book import Book, End, Job
from worker.simulator.lives import ERROR, FINISHED, QUEUED, Life, Shown
from worker.simulator.options import Options


class Jobs:
    """The jobs of a book and what the API shows of them. `now` is the server's wall clock."""

    def __init__(
        self, book: Book, options: Callable[[], Options], now: Callable[[], float]
    ) -> None:
        self.book = book
        self.now = now
        self._options = options
        self._lives: dict[str, Life] = {}
        self._begun = 0
        self._of_address: Counter[str] = Counter()
        self._ahead: list[tuple[float, str, str]] = []

    def pass_time(self) -> None:
        """Begin the life of each new job, and enter the ends that have come."""
        while self._begun < len(self.book.jobs):
            self._begin(self.book.jobs[self._begun])
        while self._ahead and self._ahead[0][0] <= self.now():
            ended_at, job_id, ended_as = heappop(self._ahead)
            self.book.end(End(job_id, ended_as, ended_at))

    def _begin(self, job: Job) -> None:
        self._begun += 1
        self._of_address[job.url] += 1
        ended = self.book.ends.get(job.job_id)
        life = self._life(job) if ended is None else lives.ended_life(ended.ended_as)
        if life is None:
            return
        self._lives[job.job_id] = life
        if ended is None and life.ends_as is not None:
            heappush(self._ahead, (job.accepted_at + life.ends_after, job.job_id, life.ends_as))

    def _life(self, job: Job) -> Life | None:
        options = self._options()
        if options.job_seconds is None:
            return None
        return lives.life_of(
            job.url,
            self._of_address[job.url],
            span=options.job_seconds,
            dead_hosts=options.dead_hosts,
            failures=options.job_failures,
            scripted=options.job_script.get(self._begun),
            seed=options.seed,
        )

    def shown(self, job: Job) -> Shown:
        """Return what the API shows of a job now."""
        if job.job_id in self.book.cancelled:
            return Shown(ERROR, ERROR, "cancelled")
        age = self.now() - job.accepted_at
        life = self._lives.get(job.job_id)
        if life is not None:
            return lives.shown(life, age, ended=job.job_id in self.book.ends)
        options = self._options()
        finished = lists.is_finished(
            job.url,
            age,
            share=options.finished_share,
            after_seconds=options.finish_seconds,
            seed=options.seed,
        )
        status = FINISHED if finished else QUEUED
        return Shown(status, status)

    def listed(self, key: str) -> Iterator[lists.Listed]:
        """Yield the jobs that the list of this key shows, oldest first."""
        until = self.now() - self._options().list_delay_seconds
        for job in self.book.seen_by(key, until=until):
            shown = self.shown(job)
            if shown.listed:
                yield lists.Listed(job.job_id, shown.status, job.request_id, job.url)

    def find(self, job_id: str, key: str) -> tuple[Job, Shown] | None:
        """Return a job and what is shown of it, None if the API says that there is none."""
        job = self.book.find(job_id, key)
        shown = job and self.shown(job)
        return (job, shown) if job and shown and shown.found else None
