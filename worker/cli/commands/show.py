"""``show``: the story of one video, what happens to it next, and its request."""

import json
from collections.abc import Mapping
from typing import Any

from worker import story
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing
from worker.cli.session import open_to_look
from worker.core.redact import readable
from worker.store import search

FACT_COLUMNS = ("at", "attempt", "fact", "http_status", "job_id", "message", "who")


def show(call: Invocation) -> int:
    """Print the story of each video that the reference means."""
    reference = call.args.reference

    with open_to_look(call.settings) as session:
        stories = session.read(
            lambda c, now: [
                story.told(c, row, call.settings, now)
                for row in search.find(c, readable(reference))
            ]
        )
    if stories and call.args.json:
        output.document(stories)
    else:
        for each in stories:
            _print(each)
    ids = [f"id={each['video']['id']}" for each in stories if each["video"]["url"] == reference]
    if len(ids) > 1:
        exits.complain([f"{len(ids)} videos have this address: say which, {' or '.join(ids)}"])
    return complain_missing({reference: stories})


def _print(told: Mapping[str, Any]) -> None:
    output.pairs({name: value for name, value in told["video"].items() if value is not None})
    print()
    output.paragraph(f"next: {told['next']}")
    print()
    for job in told["jobs"]:
        output.paragraph(story.of_job(job))
    if told["jobs"]:
        print()
    if output.on_terminal():
        for fact in told["history"]:
            output.paragraph(_sentence(fact))
    else:
        rows = ([fact[name] for name in FACT_COLUMNS] for fact in told["history"])
        output.table(FACT_COLUMNS, rows)
    output.line("\nthe request, without the key:")
    output.line(json.dumps(told["request"], ensure_ascii=False, indent=2))


def _sentence(fact: Mapping[str, object]) -> str:
    """Return a fact as a sentence: a table of all columns is too wide for a terminal."""
    told = {name: output.text(value) for name, value in fact.items()}
    job = "" if fact["job_id"] is None else f", job {told['job_id']}"
    message = "" if fact["message"] is None else f", {told['message']}"
    return f"{told['at']}  attempt {told['attempt']}: {told['fact']}{job}{message} ({told['who']})"
