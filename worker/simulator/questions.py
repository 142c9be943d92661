"""Answer what is asked about jobs: list_jobs, job_status and job_results. Each question is kept."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Final

from aiohttp import web

from worker.simulator import answers, faults, lists, polls, results
from worker.simulator.book import Job
from worker.simulator.jobs import Jobs
from worker.simulator.lives import FINISHED, Shown
from worker.simulator.options import Options

NOT_FOUND: Final = "Job not found"


@dataclass(frozen=True, slots=True)
class Question:
    """A GET that arrived with a key: the call, wall-clock time in seconds since the epoch, the job
    if one was named, and the kind of trouble that it met.
    """

    call: str
    at: float
    job_id: str | None = None
    kind: str | None = None


class Questions:
    """The GET calls. `asked` holds every question, oldest first."""

    def __init__(self, jobs: Jobs, options: Callable[[], Options]) -> None:
        self.asked: list[Question] = []
        self._counts: Counter[str] = Counter()
        self._jobs = jobs
        self._options = options

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        return [
            web.get(f"{answers.BASE}/list_jobs", self._list_jobs),
            web.get(f"{answers.BASE}/job_status", self._job_status),
            web.get(f"{answers.BASE}/job_results", self._job_results),
        ]

    async def _list_jobs(self, request: web.Request) -> web.StreamResponse:
        options = self._options()
        failure = next(filter(faults.status_of, options.listing), None)
        refused = self._refused("list_jobs", request, failure)
        if refused is not None:
            return refused
        if failure is not None:  # it takes the list's place
            return answers.turned_away(failure, None)
        listed = list(self._jobs.listed(request.query["api_key"]))
        return answers.success(lists.document(options.listing, listed, options.seed))

    async def _job_status(self, request: web.Request) -> web.StreamResponse:
        kind = self._trouble("job_status", self._options().status_failures)
        refused = self._refused("job_status", request, kind)
        if refused is not None:
            return refused
        if kind is not None and kind not in polls.ANSWERED:
            return answers.turned_away(kind, request.query["api_key"])
        found = self._found(request)
        if isinstance(found, web.StreamResponse):
            return found
        job, shown = found
        body = polls.document(kind, job.job_id, shown, self._options().poll_seconds)
        return answers.cut(body) if kind == "cut" else answers.success(body)

    async def _job_results(self, request: web.Request) -> web.StreamResponse:
        options = self._options()
        kind = self._trouble("job_results", options.result_failures)
        refused = self._refused("job_results", request, kind)
        if refused is not None:
            return refused
        wanted = request.query.get("type", "core")
        if wanted not in results.RESULT_TYPES:
            return answers.refusal(400, "Invalid value: type")
        if kind is not None and kind not in results.ANSWERED:
            return answers.turned_away(kind, request.query["api_key"])
        found = self._found(request)
        if isinstance(found, web.StreamResponse):
            return found
        job, shown = found
        if not self._is_ready(job, shown):
            return answers.refusal(400, "Job is not finished")
        return await _streamed(request, kind, job, wanted, options.result_bytes)

    def _trouble(self, call: str, failures: Mapping[str, float]) -> str | None:
        dice = Random(f"{self._options().seed}/{call}/{self._counts[call]}")
        return faults.pick(failures, dice.random())

    def _refused(
        self, call: str, request: web.Request, kind: str | None
    ) -> web.StreamResponse | None:
        """Keep the question; return the refusal of one without a key that is known."""
        if request.query.get("api_key") not in self._options().keys:
            return answers.refusal(401, "Invalid API key")
        self._jobs.pass_time()
        self._counts[call] += 1
        asked = Question(call, self._jobs.now(), request.query.get("job_id"), kind)
        self.asked.append(asked)
        return None

    def _found(self, request: web.Request) -> tuple[Job, Shown] | web.StreamResponse:
        job_id = request.query.get("job_id")
        if job_id is None:
            return answers.refusal(400, "Missing required field: job_id")
        found = self._jobs.find(job_id, request.query["api_key"])
        return found or answers.refusal(HTTPStatus.NOT_FOUND, NOT_FOUND)

    def _is_ready(self, job: Job, shown: Shown) -> bool:
        end = self._jobs.book.ends.get(job.job_id)
        ended_at = end.ended_at if end else job.accepted_at
        waited = self._jobs.now() - ended_at
        return shown.status == FINISHED and waited >= self._options().results_delay_seconds


async def _streamed(
    request: web.Request, kind: str | None, job: Job, wanted: str, least: int
) -> web.StreamResponse:
    """Send the results; under a kind that breaks off, a half of them."""
    if kind == "wrong-id":
        job = Job(polls.STRANGE_ID, None, job.url, job.accepted_at)
    whole = results.size(job, wanted, least)
    parts: Iterable[bytes] = results.parts(job, wanted, least)
    response = web.StreamResponse()
    response.content_type = answers.JSON if wanted in results.JSON_TYPES else "text/plain"
    if kind in {"compressed", "cut-compressed"}:
        response.headers["Content-Encoding"] = "gzip"
        parts = _gzipped(parts)
    elif kind != "cut-chunk":
        response.content_length = whole // 2 if kind == "half" else whole
    broken = kind in {"cut", "cut-chunk", "cut-compressed"}
    if broken or kind == "half":
        parts = _first(whole // 2, parts)
    await response.prepare(request)
    for part in parts:
        await response.write(part)
    if broken and request.transport is not None:
        request.transport.close()  # aiohttp then writes no end of the answer
    return response


def _gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


def _first(count: int, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield so many bytes of them."""
    for part in parts:
        yield part[:count]
        count -= len(part)
        if count <= 0:
            return
