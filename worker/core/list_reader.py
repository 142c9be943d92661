"""Read a list of jobs part by part as JSON, in memory that its jobs take and no more.

Knows no HTTP, and of a job only its bounds.
"""

import codecs
import json
import re

from worker.core.job_list import Listing, Members, listing_of, unambiguous

LIST_LIMIT = 64 * 1024 * 1024
"""Bytes of a list that are read."""

MEMBER_LIMIT = 1024 * 1024
"""Characters of one job, and of what stands before or behind an array."""

PARTS_LIMIT = 1_000_000
"""Jobs with their identifiers and addresses; each takes some 100 bytes of memory."""

NOT_JSON = "the answer is not JSON"
TOO_LONG = (
    f"the list is too long: more than {LIST_LIMIT >> 20} MiB, or {MEMBER_LIMIT >> 20} MiB for one "
    f"job, or {PARTS_LIMIT:,} jobs with their identifiers and addresses"
)

_TO_ARRAY = re.compile(r'((?:[^"\[]|"(?:[^"\\]|\\.)*+")*+)\[', re.DOTALL)
_SPACE, _NEXT_MEMBER, _END = re.compile(r"\s*"), re.compile(r"\s*,\s*"), re.compile(r"\s*\]")
_NUMBER = "number of an array"
_MEMBERS = json.JSONDecoder(object_pairs_hook=unambiguous)


class UnreadableError(ValueError):
    """The text is no list, or one that would take too much memory; the message says so."""


class ListReader:
    """Read a list part by part. It keeps its entries, and what stands outside of all arrays."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._outside: list[str] = []
        self._rest = ""
        self._arrays: list[Members] = []
        self._inside = False
        self._size = self._length = 0

    def feed(self, data: bytes) -> None:
        """Take the next part. Raises UnreadableError if it is not JSON, or takes too much."""
        self._length += len(data)
        try:
            if self._decoder is None:
                decoder = codecs.getincrementaldecoder(json.detect_encoding(data))
                self._decoder = decoder("surrogatepass")
            text, at, before = self._rest + self._decoder.decode(data), 0, -1
            while before < at:
                before, at = at, (self._member if self._inside else self._to_array)(text, at)
        except (ValueError, RecursionError):
            raise UnreadableError(NOT_JSON) from None
        self._rest = text[at:]
        if self._length > LIST_LIMIT or len(self._rest) > MEMBER_LIMIT or self._size > PARTS_LIMIT:
            raise UnreadableError(TOO_LONG)

    def _to_array(self, text: str, at: int) -> int:
        """Go to the first member of the next array; in its place an object names its number."""
        if found := _TO_ARRAY.match(text, at):
            self._outside += [found[1], json.dumps({_NUMBER: len(self._arrays)})]
            self._arrays.append(Members())
            self._inside = True
        return found.end() if found else at

    def _member(self, text: str, at: int) -> int:
        """Take the next member of the array, or go behind its end."""
        array = self._arrays[-1]
        if found := _END.match(text, at):
            self._inside = False
            return found.end()
        if not (found := (_NEXT_MEMBER if array.size else _SPACE).match(text, at)):
            return at
        try:
            member, end = _MEMBERS.raw_decode(text, found.end())
        except json.JSONDecodeError:  # perhaps not complete yet
            return at
        if text[end : end + 1] not in {*",] \t\r\n"}:  # a number may go on
            return at
        self._size += array.take(member)
        return end

    def end(self) -> Listing:
        """Return the list. Raises UnreadableError if it is not JSON."""

        def array_of(pairs: list[tuple[str, object]]) -> object:
            number = dict(pairs).get(_NUMBER)
            return self._arrays[number] if isinstance(number, int) else unambiguous(pairs)

        try:
            text = "".join((*self._outside, "[" if self._inside else "", self._rest))
            return listing_of(json.loads(text, object_pairs_hook=array_of))
        except (LookupError, ValueError, RecursionError):
            raise UnreadableError(NOT_JSON) from None
