"""``show``: the story of one video, what happens to it next, and its request."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing
from worker.cli.session import open_to_look
from worker.core import request
from worker.core.model import REQUEST_COLUMNS, State, Video
from worker.core.redact import readable
from worker.settings import Settings
from worker.store import search, shared_state

FACT_COLUMNS = ("at", "attempt", "fact", "http_status", "job_id", "message", "who")


def show(call: Invocation) -> int:
    """Print the story of each video that the reference means."""
    reference = call.args.reference

    def look(connection: Connection, now: datetime) -> list[dict[str, Any]]:
        found = search.find(connection, readable(reference))
        cooling = shared_state.read(connection).cooling(now)
        told = [_story(search.story(connection, row), call.settings, now) for row in found]
        for story in told:
            if cooling and story["video"]["state"] == State.PENDING:
                story["next"] += f"; {cooling} holds all: valossa-ingest resume --cool-down ends it"
        return told

    with open_to_look(call.settings) as session:
        stories = session.read(look)
    if stories and call.args.json:
        output.document(stories)
    else:
        for story in stories:
            _print(story)
    ids = [f"id={story['video']['id']}" for story in stories if story["video"]["url"] == reference]
    if len(ids) > 1:
        exits.complain([f"{len(ids)} videos have this address: say which, {' or '.join(ids)}"])
    return complain_missing({reference: stories})


def _story(story: search.Story, settings: Settings, now: datetime) -> dict[str, Any]:
    row = story.video
    name = row["request_id"] if row["claims"] else row["media_id"] or row["request_id"]
    return {
        "video": dict(row),
        "next": _next(story, settings, now),
        "history": [dict(fact) for fact in story.facts],
        "request": request.body(_video(row), name, settings.defaults),
    }


def _video(row: RowMapping) -> Video:
    return Video(**{name: row[name] for name in REQUEST_COLUMNS})


def _print(story: Mapping[str, Any]) -> None:
    output.pairs({name: value for name, value in story["video"].items() if value is not None})
    print()
    output.paragraph(f"next: {story['next']}")
    print()
    if output.on_terminal():
        for fact in story["history"]:
            output.paragraph(_sentence(fact))
    else:
        rows = ([fact[name] for name in FACT_COLUMNS] for fact in story["history"])
        output.table(FACT_COLUMNS, rows)
    output.line("\nthe request, without the key:")
    output.line(json.dumps(story["request"], ensure_ascii=False, indent=2))


def _sentence(fact: Mapping[str, object]) -> str:
    """Return a fact as a sentence: a table of all columns is too wide for a terminal."""
    told = {name: output.text(value) for name, value in fact.items()}
    job = "" if fact["job_id"] is None else f", job {told['job_id']}"
    message = "" if fact["message"] is None else f", {told['message']}"
    return f"{told['at']}  attempt {told['attempt']}: {told['fact']}{job}{message} ({told['who']})"


def _next(story: search.Story, settings: Settings, now: datetime) -> str:
    row = story.video
    number = f"{row['id']} --may-buy-twice" if story.doubted else row["id"]
    twin = story.twin and request.bought_already(row["id"], story.twin)
    match State(row["state"]):
        case State.PENDING:
            margin = timedelta(seconds=settings.url_margin_seconds)
            if fault := request.problem(_video(row), now, margin) or twin:
                return f"it will be refused without a request: {fault}"
            due = row["due_at"]
            return "it is due" if due <= now else f"it is due at {output.text(due)} UTC"
        case State.SUBMITTING:
            return (
                f"worker {row['claimed_by']} is sending it; if that one has died, it is in doubt "
                f"from {output.text(row['lease_until'])} UTC on"
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


def _next_of_doubt(row: RowMapping, settings: Settings) -> str:
    if settings.on_doubt == "retry" and row["attempts"] < settings.max_attempts:
        return f"it is sent again after {settings.doubt_settle_seconds:g} s (on_doubt = retry)"
    hand = "nothing by itself"
    if settings.on_doubt == "reconcile":
        hand = "a run asks the API's list for it, as valossa-ingest reconcile does now; by hand"
    return (
        f"{hand}: look for {row['request_id']} or its address in the Valossa Portal; if"
        f" it is there: valossa-ingest resolve {row['id']} --job-id X; if not: valossa-ingest retry"
        f" {row['id']} --may-buy-twice, or resolve {row['id']} --give-up"
    )
