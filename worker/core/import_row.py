"""Map a row of an imported file to our columns, or reject it. Knows no file format and no table."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache

from worker.core.advice import GIVEN_UP
from worker.core.link import cleaned
from worker.core.model import REQUEST_COLUMNS, State
from worker.core.preflight import waste
from worker.core.request import LINKS, problem_of
from worker.core.signed_link import unsigned

COLUMNS = (*REQUEST_COLUMNS, "priority", "due_at", "job_id", "batch")
"""Columns that an import may fill. A row with a job id was submitted by other means."""

EXPORT_ONLY = (
    "state",
    "request_id",
    "attempts",
    "http_status",
    "error",
    "created_at",
    "submitted_at",
    *("job_status", "job_ended_at", "job_details", "result_path"),
)
"""Columns that only an export has; an import ignores them."""

_OF_AN_EXPORT = {
    "state": re.compile("submitted|in_doubt"),
    "request_id": re.compile("[0-9a-f]{32}"),
    "submitted_at": re.compile(r"\d{4}-\d\d-\d\d .*"),
}
"""Values that show, each alone, that a row was exported by this program."""

_LOCAL = "; for a local file write its path, which must be there"
"""What helps beside the fault of an address that begins with no scheme."""

JOB_NOT_TAKEN = "job_id not taken, as of no export: --update --map job_id=job_id takes it"

_ALIASES = {
    "id": "media_id",
    "lang": "language",
    "link": "url",
    "name": "title",
    "desc": "description",
    "srt": "transcript_url",
    "callback": "callback_url",
}
_STATES = tuple(State)
_ROUNDED = re.compile(r"[+-]?\d(?:[.,]\d{1,40})?E\+\d{1,3}", re.IGNORECASE)
_ROUNDED_BY = (
    "is a number that a spreadsheet made of it; format the column as text and export the list again"
)

_ABSENT = frozenset(("nan", "-nan", "null", "none", "n/a", "#n/a", "#na", "<na>", "nat", "-"))
"""Words that programs and people write for no value, in any case."""

_ABSENT_PROSE = frozenset(("nan", "NaN", "NULL", "None", "#N/A"))
"""Those that stand for no value in a title too: as a program spells them, and a person hardly."""

_MARK = "'\t"
"""Before a text of an export that a spreadsheet would calculate, or an import read as another."""

PLACEHOLDER_URL = "https://known.invalid/"
"""Stands in for the address of a video already stored, while the rest of a row is checked."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_TOO_LATE = datetime(9999, 12, 31, tzinfo=UTC)  # PostgreSQL's tables end there
_SHOWN = 60
LONGEST_BATCH, _LONGEST_JOB_ID = 200, 600  # an index holds them, whatever their characters
_NO_TEXT = (bool, list, dict)

Form = tuple[Callable[[str], object], str]


class RejectedError(Exception):
    """The row cannot become a video; the message names the column and the way out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportMapping:
    """The way an import reads rows.

    Attributes:
        theirs: Our column -> its name in the file.
        fixed: Our column -> one value for all rows.
        margin: How long a signed link must still live.
        partial: A row may have no url if it has a media_id, or the request_id of a video.
        spelled: Our column -> its other spelling in the file, for those not in ``theirs``.
        takes_wasted: A row is taken although its video would surely be paid for nothing.
    """

    theirs: Mapping[str, str]
    fixed: Mapping[str, str]
    margin: timedelta
    partial: bool = False
    spelled: Mapping[str, str] = field(default_factory=dict)
    takes_wasted: bool = False

    @cached_property
    def taken(self) -> tuple[tuple[str, str, str | None, Form | None], ...]:
        """Return for each of our columns: name, name in the file, fixed value, form."""
        return tuple((c, self.source(c), self.fixed.get(c), _FORMS.get(c)) for c in COLUMNS)

    def brings_job(self, values: Mapping[str, object]) -> bool:
        """Return True if the ``job_id`` of a row is the API's: a person says so, the row is of an
        export, or it updates a video that it names without an address.
        """
        return (
            "job_id" in {*self.theirs, *self.fixed}
            or (self.partial and not values.get(self.source("url")))
            or any(
                form.fullmatch(str(values.get(self.source(c)))) for c, form in _OF_AN_EXPORT.items()
            )
        )

    def source(self, column: str) -> str:
        """Return the name of our ``column`` in the file."""
        return self.theirs.get(column) or self.spelled.get(column, column)

    def named(self, present: Iterable[str]) -> tuple[str, ...]:
        """Return our columns that this file or ``--set`` fills."""
        there = tuple(present)
        spelled = spelled_as(there, self)
        return tuple(c for c in COLUMNS if c in self.fixed or spelled.source(c) in there)

    def unused(self, present: Iterable[str]) -> dict[str, str | None]:
        """Return the file's unused columns, each with our column that it is an alias of."""
        there = tuple(present)
        spelled = spelled_as(there, self)
        used = {spelled.source(c) for c in (*COLUMNS, *EXPORT_ONLY) if c not in self.fixed}
        filled = {*spelled.spelled, *self.theirs, *self.fixed, *there, None}
        meant = {name: _ALIASES.get(_plain(name)) for name in there if name not in used}
        return {name: None if column in filled else column for name, column in meant.items()}


@lru_cache(maxsize=100)
def spelled_as(present: tuple[str, ...], mapping: ImportMapping) -> ImportMapping:
    """Return the mapping for a file with these columns, which may spell ours in another way."""
    plain = Counter(map(_plain, present))
    spelled = {
        column: name
        for name in present
        if (column := _OURS.get(_plain(name))) and plain[_plain(name)] == 1
        if name not in mapping.theirs.values()
    }
    return replace(mapping, spelled=spelled)


def _plain(name: str) -> str:
    """Return a column's name in lower case, without spaces, marks and invisible characters."""
    return re.sub(r"[\W_]+", "", name).lower()


_OURS = {_plain(column): column for column in (*COLUMNS, "state", "request_id")}
"""The columns that a file may spell in another way. The others of an export are never read."""


def admit(values: Mapping[str, object], mapping: ImportMapping, now: datetime) -> dict[str, object]:
    """Return one row by our columns, without those that it leaves empty. Raises RejectedError if a
    value has the wrong form, or if the API would not take the video at ``now`` (UTC).
    """
    mapping = spelled_as(tuple(values), mapping)
    row = _filled(values, mapping)
    if "+" in (media_id := str(row.get("media_id"))) and _ROUNDED.fullmatch(media_id):
        raise RejectedError(f"media_id: {media_id!r} {_ROUNDED_BY}")
    state = values.get(mapping.source("state"))
    request_id = _read("request_id", str(values.get(mapping.source("request_id")) or ""), None)
    if request_id or ("media_id" in row and state in _STATES):
        row["request_id"] = request_id or state
    if "url" not in row and not (mapping.partial and {"media_id", "request_id"} & {*row}):
        raise RejectedError("url: is empty; give the address of the video file")
    checked = {"url": PLACEHOLDER_URL, **row}
    if "job_id" in row:  # submitted by other means: its links may have ended
        if not str(row["job_id"]).isprintable() or len(str(row["job_id"])) > _LONGEST_JOB_ID:
            raise RejectedError("job_id: is no job id of theirs; copy it again")
        fault = problem_of(checked, _EARLIEST, timedelta())
    elif (doubt := _doubt(values, mapping)) is not None:
        fault = doubt
    elif mapping.takes_wasted:
        fault = problem_of(checked, _EARLIEST, timedelta())
    elif (wasted := waste(checked)) is not None:
        fault = f"{wasted.reason}; {wasted.remedy}, or --allow-wasted"
    else:
        fault = problem_of(checked, now, mapping.margin)
    if fault is not None:
        perhaps_file = fault.startswith("url: ") and ":" not in str(checked["url"])
        raise RejectedError(fault + (_LOCAL if perhaps_file else ""))
    same = unsigned(str(checked["url"]))
    return row if same is None else {**row, "unsigned_url": same}


def _doubt(values: Mapping[str, object], mapping: ImportMapping) -> str | None:
    """Return the fault of an exported row that may have been bought; None if it has none."""
    state, settle = values.get(mapping.source("state")), "settle it where it was exported first"
    if state in ("submitting", "in_doubt"):
        return f"state: {state}, perhaps bought; {settle}"
    if not mapping.partial and values.get(mapping.source("error")) == GIVEN_UP:
        return f"error: {GIVEN_UP}; {settle}, or empty error if it is to be bought all the same"
    return None


def notes(
    values: Mapping[str, object], mapping: ImportMapping, row: Mapping[str, object]
) -> Iterator[str]:
    """Yield what an admitted ``row`` has not taken as the list has it."""
    mapping = spelled_as(tuple(values), mapping)
    for column in LINKS:
        given = mapping.fixed.get(column, values.get(mapping.source(column)))
        if given is not None and given != row.get(column):
            yield from (f"{column}: {note}" for note in cleaned(str(given))[1])
    if values.get(mapping.source("job_id")) and not mapping.brings_job(values):
        yield JOB_NOT_TAKEN


def zero_twins(media_id: object, widths: Iterable[int]) -> set[str]:
    """Return other spellings of a number: without leading zeros, and with them at these widths."""
    digits = str(media_id).lstrip("0")
    if not (digits.isdecimal() and digits.isascii()):
        return set()
    return {digits, *(digits.zfill(width) for width in widths)} - {str(media_id)}


def marked(column: str, value: object, formulas: tuple[str, ...] = ()) -> object:
    """Return a value that ``admit`` reads as it is, and that begins as none of ``formulas``."""
    if not isinstance(value, str) or not value:
        return value
    changed = column in COLUMNS and _read(column, value, None) != value
    return _MARK + value if changed or value.startswith(formulas) else value


def _filled(values: Mapping[str, object], mapping: ImportMapping) -> dict[str, object]:
    filled = {}
    for column, source, fixed, form in mapping.taken:
        given = values.get(source) if fixed is None else fixed
        if given is None or (column == "job_id" and not mapping.brings_job(values)):
            continue
        if (value := _read(column, given, form)) is not None:
            filled[column] = value
    return filled


def _read(column: str, given: object, form: Form | None) -> object:
    """Return the value, None if it is empty. Raises RejectedError."""
    if isinstance(given, _NO_TEXT):
        raise RejectedError(f"{column}: must be text, not {type(given).__name__}; correct it")
    text = str(given)
    if text.startswith(_MARK):
        text = text.removeprefix(_MARK)
    elif (text := text.strip()).lower() in _ABSENT:
        kept = column in ("title", "description") and text not in _ABSENT_PROSE
        text = text if kept else ""
    if form is None or not text:
        return text or None
    parse, complaint = form
    try:
        return parse(text)
    except RejectedError as error:
        complaint = str(error)
    except (ValueError, OverflowError):
        pass
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    raise RejectedError(f"{column}: {shown} {complaint}")


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:
        raise RejectedError("is too large; choose a smaller number")
    return number


def _moment(text: str) -> datetime:
    """Return a time in UTC; one without an offset is taken as UTC."""
    moment = datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment < _EARLIEST:
        raise RejectedError("is before 1970; write a later moment")
    if moment >= _TOO_LATE:
        raise RejectedError("is no moment before 9999-12-31; write an earlier one")
    return moment


_FORMS: Mapping[str, Form] = {
    **dict.fromkeys(LINKS, (lambda text: cleaned(text)[0] or None, "")),
    "face_min_relative_height": (float, "is no number; correct it"),
    "priority": (_whole, "is no whole number; correct it"),
    "due_at": (_moment, "is no moment; write it like YYYY-MM-DD HH:MM:SS, in UTC"),
    "batch": (lambda text: text[:LONGEST_BATCH], ""),
}
