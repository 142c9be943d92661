"""Gather what each page shows, as plain values: the templates and the JSON show the same ones."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from worker import story
from worker.core.model import State
from worker.core.redact import presentable
from worker.settings import SINKS, Settings
from worker.settings_sources import Loaded
from worker.snapshot import take
from worker.store import search, timeline
from worker.store.bulk import BELOW_ALL
from worker.store.doubts import EVIDENCE_SEPARATOR
from worker.web.asking import FILTERS, Fields, filter_of, kept, number
from worker.web.board import DAY, Board, board, end_of
from worker.web.rendering import public, render

ROWS = 50
"""Videos of one page."""


def home(board: Board, loaded: Loaded) -> dict[str, Any]:
    """Return the first screen."""
    values = {name: getattr(loaded.settings, name) for name in loaded.sources}
    chosen = {n: "set" if n in SINKS and value else value for n, value in values.items()}
    return {
        "snapshot": board.snapshot,
        "hour": board.hour,
        "day": board.day,
        "since": board.since,
        "reasons": [public(each._asdict()) for each in board.reasons],
        "settings": [
            public({"name": name, "value": value, "source": loaded.sources[name]})
            for name, value in chosen.items()
        ],
        "batches": board.batches,
        "rate_source": loaded.rate_source,
        "price": loaded.settings.price_per_video,
        "currency": loaded.settings.currency,
    }


def file(connection: Connection, loaded: Loaded, queue: str, now: datetime) -> str:
    """Return the first screen as a page that needs no other file."""
    end = end_of(now)
    seen = board(
        connection,
        take(connection, loaded.settings, now),
        timeline.minutes(connection, end - DAY, end),
        end - DAY,
    )
    around = {"queue": queue, "visitor": "", "told": "", "standalone": True}
    body = render("home.html", {**around, **home(seen, loaded)})
    return body.replace("<!--made-->", f"{now:%Y-%m-%d %H:%M:%S}")


def videos(connection: Connection, fields: Fields, _: Settings, now: datetime) -> dict[str, Any]:
    """Return a page of the videos of a filter. Raises ValueError."""
    found, following = _page(connection, filter_of(fields, now), fields)
    return {
        "videos": [public(row) for row in search.with_jobs(connection, found)],
        "next": following,
        "filters": kept(fields, *FILTERS),
    }


def _page(
    connection: Connection, wanted: search.Filter, fields: Fields
) -> tuple[list[Any], int | None]:
    """Return the rows of a page, and after which id the next one begins; None for the last."""
    after = number(fields, "after") if fields.get("after") else BELOW_ALL
    found = search.matching(connection, wanted, after, ROWS + 1)
    return found[:ROWS], found[ROWS - 1]["id"] if len(found) > ROWS else None


def video(
    connection: Connection, fields: Fields, settings: Settings, now: datetime
) -> dict[str, Any]:
    """Return the story of a video. Raises LookupError."""
    meant = search.Filter(ids=(number(fields, "video"),))
    if not (found := search.chosen(connection, *meant.clauses())):
        raise LookupError(f"no video has id {fields['video']}")
    told = story.told(connection, found[0], settings, now)
    written = json.dumps(told["request"], ensure_ascii=False, indent=2)
    return {
        "video": public(told["video"]),
        "next": presentable(told["next"], ""),
        "history": [public(fact) for fact in told["history"]],
        "jobs": [
            {**public(job), "told": presentable(story.of_job(job), "")} for job in told["jobs"]
        ],
        "request": [presentable(line, "") for line in written.splitlines()],
    }


def doubts(
    connection: Connection, fields: Fields, settings: Settings, _: datetime
) -> dict[str, Any]:
    """Return a page of the videos in doubt with their evidence. Raises ValueError."""
    found, following = _page(connection, search.Filter(states=(State.IN_DOUBT,)), fields)
    shown = []
    for row in found:
        how_far, __, listed = (row["error"] or "").partition(EVIDENCE_SEPARATOR)
        facts = [public(each) for each in search.story(connection, row).facts]
        attempts = [each for each in facts if each["fact"] == "in_doubt"]
        shown.append(public({**row, "how_far": how_far, "listed": listed, "attempts": attempts}))
    return {"doubts": shown, "next": following, "reconciles": settings.reconciles}
