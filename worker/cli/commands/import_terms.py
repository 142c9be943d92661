"""Read the flags of an import: its lists, what is taken from their rows, the way on when it is cut.

Knows no file and no database.
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from worker.core.import_row import COLUMNS, ImportMapping
from worker.settings import Settings


def mapping_of(args: argparse.Namespace, settings: Settings) -> ImportMapping:
    """Return the way the rows are read. Raises ValueError with the known columns."""
    margin = timedelta(seconds=settings.url_margin_seconds)
    theirs, fixed = _split(args.map), _split(args.set)
    fixed |= {"batch": args.batch} if args.batch else {}
    mapping = ImportMapping(theirs=theirs, fixed=fixed, margin=margin, partial=args.update)
    return replace(mapping, takes_wasted=args.allow_wasted)


def lists_of(args: argparse.Namespace) -> list[str]:
    """Return the names of the lists, and the pattern of files last. Raises ValueError."""
    names = [*args.files, *([args.glob] if args.glob else [])]
    if not names or (args.media_id and not args.glob):
        raise ValueError("name a list, or files with --files, to which --media-id belongs")
    return names


def way_on(args: argparse.Namespace) -> str:
    """Return the way to go on after an import that was cut."""
    # An update finds the rows that are there, even where duplicates are allowed.
    if args.allow_duplicates and not args.update:
        batch = shlex.quote(args.batch) if args.batch else "NAME"
        return (
            "the same command would take it again, and may buy it twice: put it away first with "
            f"cancel --batch {batch}, or go on without --allow-duplicates, which skips what is "
            "there"
        )
    return "the same list again goes on" if "-" in args.files else "the same command goes on"


def _split(pairs: Sequence[str]) -> dict[str, str]:
    """Return the ``COLUMN=VALUE`` arguments as a dict. Raises ValueError with the known columns."""
    split = {}
    for pair in pairs:
        column, equals, value = pair.partition("=")
        if column not in COLUMNS or not equals:
            raise ValueError(f"{pair!r}: write COLUMN=…, COLUMN being one of {', '.join(COLUMNS)}")
        split[column] = value
    return split
