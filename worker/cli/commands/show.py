"""``show``: the story of one video, what happens to it next, and its request."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping

from worker.cli import exits, output
from worker.cli.session import look, nobody
from worker.core import request
from worker.core.model import REQUEST_COLUMNS, State, Video
from worker.core.redact import clean
from worker.settings import Settings
from worker.settings_sources import Loaded
from worker.store import search

_TOLD = ("at", "attempt", "fact", "http_status", "job_id", "message", "who")
"""What is told of each fact of the history."""


def show(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """The story of one video."""

    def seen(connection: Connection, now: datetime) -> list[_Story]:
        found = search.find(connection, clean(args.reference))
        return [_story(search.story(connection, row), loaded, now) for row in found]

    def tell(stories: list[_Story]) -> int:
        if not stories:
            return exits.complain(nobody([args.reference]), exits.PROBLEMS)
        if args.json:
            output.document([story.document() for story in stories])
            return exits.OK
        for story in stories:
            _print_story(story)
        return exits.OK

    return look(loaded, seen, tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """What there is to tell."""

    video: Mapping[str, object]
    next: str
    history: list[dict[str, object]]
    request: dict[str, object]

    def document(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("video", "next", "history", "request")}


def _story(story: search.Story, loaded: Loaded, now: datetime) -> _Story:
    row = story.video
    video = Video(**{name: row[name] for name in REQUEST_COLUMNS})
    return _Story(
        video=dict(row),
        next=_next(story, loaded.settings, now),
        history=[dict(fact) for fact in story.facts],
        request=request.body(
            video,
            row["request_id"] if row["claims"] else row["media_id"] or row["request_id"],
            loaded.settings.defaults,
        ),
    )


def _print_story(story: _Story) -> None:
    output.pairs({name: value for name, value in story.video.items() if value is not None})
    print()
    output.paragraph(f"next: {story.next}")
    print()
    if output.on_terminal():
        for fact in story.history:
            output.paragraph(_sentence(fact))
    else:
        output.table(_TOLD, ([fact[name] for name in _TOLD] for fact in story.history))
    print("\nthe request, without the key:")
    print(json.dumps(story.request, ensure_ascii=True, indent=2))


def _sentence(fact: Mapping[str, object]) -> str:
    """A fact as people read it, where a table would be too wide."""
    told = [f"{output.text(fact['at'])}  attempt {fact['attempt']}: {output.text(fact['fact'])}"]
    if fact["job_id"] is not None:
        told.append(f"job {output.text(fact['job_id'])}")
    if fact["message"] is not None:
        told.append(output.text(fact["message"]))
    return f"{', '.join(told)} ({output.text(fact['who'])})"


def _next(story: search.Story, settings: Settings, now: datetime) -> str:
    """What happens to this video next, and who makes it happen."""
    row = story.video
    number = f"{row['id']} --may-buy-twice" if story.doubted else row["id"]
    match State(row["state"]):
        case State.PENDING:
            fault = request.problem(
                Video(**{name: row[name] for name in REQUEST_COLUMNS}),
                now,
                timedelta(seconds=settings.url_margin_seconds),
            )
            if fault:
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
