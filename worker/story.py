"""Tell the story of a video: its row, what happens to it next, its history and its request."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping

from worker.core import host, request
from worker.core.file_address import is_file
from worker.core.following import BEFORE_ALL
from worker.core.model import REQUEST_COLUMNS, Fact, State, Video
from worker.core.plain_text import text
from worker.core.verdict import ASK_VALOSSA
from worker.settings import Settings
from worker.store import doubts, hosts, search, shared_state, uploads
from worker.store.job_numbers import UNASKED

NOT_UPLOADED = "valossaupload://… (its file is not uploaded yet)"

DUE = "it is due"
LISTED_FIRST = (
    "it waits for the API's list of jobs, since its 500 may have made one; if no list can be read, "
    "it is sent some {:g} s after the 500"
)


def told(
    connection: Connection, row: RowMapping, settings: Settings, now: datetime
) -> dict[str, Any]:
    """Return a video's row, ``next`` as a sentence, its jobs with their results, its history, and
    its request without the key. ``now``: the time of the queue (UTC).
    """
    story = search.story(connection, row)
    known = search.jobs_of(connection, row["id"])
    after = _next(story, settings, now, had_job=bool(known))
    its = search.Filter(ids=(row["id"],)).clauses()
    if after == DUE and settings.reconciles and doubts.count_unlisted(connection, now, *its):
        after = LISTED_FIRST.format(settings.doubt_settle_seconds)
    if job := next((job for job in known if job["job_id"] == row["job_id"]), None):
        is_named = any(
            f["fact"] == Fact.RESOLVE and f["job_id"] == row["job_id"] for f in story.facts
        )
        after = _next_of_job(row["id"], job, settings, is_unseen=is_named and not job["status"])
    if row["state"] == State.PENDING and row["held_host"] == "file:":
        after = "its file is uploaded first; valossa-ingest status and why say more"
    cooling = shared_state.read(connection).cooling(now)
    if row["state"] == State.PENDING and row["held_host"] is not None:
        held = hosts.held(connection, search.Filter(ids=(row["id"],)))[:1]
        after = next((f"{host.told([each])}: {each.remedy}" for each in held if each.videos), after)
    if cooling and row["state"] == State.PENDING:
        after += f"; {cooling} holds all: valossa-ingest resume --cool-down ends it"
    base_url = settings.callback_base_url
    callback = base_url and f"{base_url.rstrip('/')}/callback/…"  # the rest is a secret
    url = uploads.sent_as(connection, row["id"], row["url"])
    sent = replace(_video(row), url=NOT_UPLOADED if is_file(url) else url)
    return {
        "video": dict(row),
        "next": after,
        "jobs": known,
        "history": [dict(fact) for fact in story.facts],
        "request": request.body(sent, _name(story), settings.defaults, callback),
    }


def _name(story: search.Story) -> str:
    """Return the identifier that was sent, or will be: a claim keeps none that the API cannot know
    (``store.queue``).
    """
    row, facts = story.video, story.facts
    waits = row["state"] in {State.PENDING, State.FAILED, State.CANCELLED}
    was_sent = any(fact["started_at"] or fact["fact"] == Fact.IN_DOUBT for fact in facts)
    name: str = row["request_id"]
    return name if row["claims"] and (was_sent or not waits) else row["media_id"] or name


def _video(row: RowMapping) -> Video:
    return Video(**{name: row[name] for name in REQUEST_COLUMNS})


def _next(story: search.Story, settings: Settings, now: datetime, *, had_job: bool) -> str:
    row = story.video
    number = f"id={row['id']}" + (" --may-buy-twice" if story.doubted or had_job else "")
    twin = story.twin and request.bought_already(row["id"], story.twin)
    match State(row["state"]):
        case State.PENDING:
            margin = timedelta(seconds=settings.url_margin_seconds)
            if fault := request.problem(_video(row), now, margin) or twin:
                return f"it will be refused without a request: {fault}"
            due = row["due_at"]
            return DUE if due <= now else f"{DUE} at {text(due)} UTC"
        case State.SUBMITTING if row["lease_until"] <= now:
            dead = f"its worker {row['claimed_by']} has died or hangs"
            return f"{dead}; valossa-ingest reconcile puts it in doubt, as a run or a drain does"
        case State.SUBMITTING:
            return (
                f"worker {row['claimed_by']} is sending it; if that one has died, it is in doubt "
                f"from {text(row['lease_until'])} UTC on"
            )
        case State.SUBMITTED:
            return "nothing: the API has it"
        case State.FAILED | State.CANCELLED if twin:
            return f"nothing by itself; {twin}"
        case State.FAILED:
            return f"nothing by itself; mend the cause, then: valossa-ingest retry {number}"
        case State.IN_DOUBT:
            return _next_of_doubt(row, settings)
        case State.CANCELLED:
            return f"nothing by itself; valossa-ingest retry {number} takes it up again"


def _next_of_job(
    video_id: int, job: Mapping[str, Any], settings: Settings, *, is_unseen: bool
) -> str:
    if (end := job["ended_as"]) in search.WASTED and is_unseen:
        known = f"the API does not know job {job['job_id']}, which a person named"
        right = f"valossa-ingest resolve id={video_id} --job-id X corrects it"
        again = f"valossa-ingest retry id={video_id} --job-status {end} --may-buy-again"
        return f"nothing by itself: {known}; {right}; if there is none: {again}"
    if end in search.WASTED:
        why, again = job["details"] or end, f"id={video_id} --job-status {end} --may-buy-again"
        return f"nothing by itself: paid for nothing ({why}); valossa-ingest retry {again}"
    if end is not None:
        return f"nothing: its job has {end}"
    if job["overdue_since"] is not None:
        return f"its job should have ended long ago: {ASK_VALOSSA}"
    if settings.follow == "off":
        return "nothing: the API has it, and is not asked what becomes of it (follow = off)"
    if job["next_poll_at"] is None:
        return "the API is asked about its job when no other one is due"
    if job["next_poll_at"] == BEFORE_ALL:
        return "the API is asked about its job before others"
    return f"the API is asked about its job from {text(job['next_poll_at'])} UTC on"


def of_job(job: Mapping[str, Any]) -> str:
    """Return a sentence on a job, for people."""
    parts = [f"job {job['job_id']} of attempt {job['attempt']}", job["status"] or UNASKED]
    told = {
        "status_since": "since {}",
        "transfer_status": "its download: {}",
        "details": "{}",
        "polled_at": f"asked about {job['polls']} times, the last time at {{}}",
        "missing_since": "not known to the API since {}",
        "overdue_since": "overdue since {}",
        "ended_at": f"{job['ended_as']} at {{}}",
    }
    parts += [words.format(text(job[name])) for name, words in told.items() if job[name]]
    parts += [f"{r['type']} {r['state']}: {r['path'] or r['error']}" for r in job["results"]]
    return ", ".join(parts)


def _next_of_doubt(row: RowMapping, settings: Settings) -> str:
    if settings.on_doubt == "retry" and row["attempts"] < settings.max_attempts:
        return f"it is sent again after {settings.doubt_settle_seconds:g} s (on_doubt = retry)"
    hand, number = "nothing by itself", f"id={row['id']}"
    if settings.on_doubt == "reconcile":
        hand = "a run asks the API's list for it, as valossa-ingest reconcile does now; by hand"
    return (
        f"{hand}: look for {row['request_id']} or its address in the Valossa Portal; if"
        f" it is there: valossa-ingest resolve {number} --job-id X; if not: valossa-ingest retry"
        f" {number} --may-buy-twice, or resolve {number} --give-up"
    )
