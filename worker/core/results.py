"""Name the results of a job, and read one part by part as JSON, in memory that its depth takes."""

import codecs
import json
import re
from datetime import datetime, timedelta
from functools import cache

from worker.core.model import value

_JSON = ("core", "frames_faces", "seconds_objects", "frames_objects", "visual_captions")
_TEXTS = {"srt": "srt", "vtt": "vtt", "ttml": "ttml", "avid_txt": "txt"}
ENDINGS = dict.fromkeys(_JSON, "json.gz")
ENDINGS |= {f"speech_to_text_{name}": ending for name, ending in _TEXTS.items()}
"""Every type of worker/api/README.md, section 5, with the ending of its file."""

TRIES, FIRST_WAIT, LONGEST_WAIT = 10, timedelta(seconds=30), timedelta(hours=1)
"""A result that is late by three hours is a failure."""

FARTHEST = 2 * LONGEST_WAIT
"""No try is planned so far ahead but by a clock that was set back since."""

DEEPEST, LONGEST = 1_000, 1024 * 1024
"""Arrays and objects inside of each other, and characters of one text, that are read."""

NOT_JSON = "it is not JSON to its end"
TOO_LONG = "it is no JSON, or a text of it is longer than 1 MiB, or it is nested 1,000 times"

_SAFE = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")


def path_of(job_id: str, accepted_at: datetime, kind: str) -> str:
    """Return the path of a result below ``results_dir``, which no two jobs share in any case."""
    if not _SAFE.fullmatch(job_id):
        from hashlib import sha256  # noqa: PLC0415 - slow to load, for ids that no API has shown

        job_id = f"_{sha256(job_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return f"{accepted_at:%Y-%m}/{job_id}.{kind}.{ENDINGS[kind]}"


@value
class Undelivered:
    """The reason why there is no result. ``spent``: False where network or account are the reason,
    or an ``outage`` of the API (law 7); ``refused``: the key was; ``retry_after``: seconds that
    everybody was asked to wait.
    """

    reason: str
    spent: bool = True
    outage: bool = False
    refused: bool = False
    retry_after: float | None = None


def again_after(tries: int) -> timedelta | None:
    """Return the wait after so many wrong answers, doubled up to an hour; None to give up."""
    return None if tries >= TRIES else min(LONGEST_WAIT, 2**tries * FIRST_WAIT)


def after_outage(age: timedelta) -> timedelta:
    """Return the wait after an answer that says nothing about a result: as long as its job is over,
    which doubles each time, up to an hour.
    """
    return min(LONGEST_WAIT, max(FIRST_WAIT, age))


class WrongResultError(Exception):
    """The answer is not the result that was asked for; the message says why."""


_SPACE = r"[ \t\r\n]*+"
_TEXT = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = f"(?:{_TEXT}|{_NUMBER}|true|false|null)"
_COLON = f"{_SPACE}:{_SPACE}"
_NEXT = rf"{_SPACE}(?:,{_SPACE}(?=[^\]}}])|(?=[\]}}]))"


def _nested(value: str) -> str:
    array, pairs = f"(?:{value}{_NEXT})*+", f"(?:{_TEXT}{_COLON}{value}{_NEXT})*+"
    return rf"(?:{_SCALAR}|\[{_SPACE}{array}\]|\{{{_SPACE}{pairs}\}})"


_VALUE = _nested(_nested(_nested(_SCALAR)))


def _level(close: str, but: str = "") -> str:
    """Return what comes next in an object: whole members, none of which begins with ``but``; its
    end; the id of a job; or a member that is not whole yet.
    """
    whole = f"(?P<whole>(?:(?!{but}){_TEXT}{_COLON}{_VALUE}{_NEXT})++)"
    begin = rf"(?P<key>{_TEXT}){_COLON}(?P<open>[\[{{])"
    return rf'{_SPACE}(?:{whole}|(?P<close>{close})|"job_id"{_COLON}(?P<id>{_TEXT}){_NEXT}|{begin})'


_LEVELS = {
    "start": rf"{_SPACE}(?P<key>)(?P<open>\{{)",
    "top": _level(r"\}", rf'"job_info"{_COLON}\{{'),
    "info": _level(rf"\}}{_NEXT}", f'"job_id"{_COLON}"'),
    "{": _level(rf"\}}{_NEXT}", "(?!)"),
    "[": rf"{_SPACE}(?:(?P<whole>(?:{_VALUE}{_NEXT})++)|(?P<close>\]{_NEXT})"
    r"|(?P<key>)(?P<open>[\[{]))",
}
_pattern = cache(re.compile)
"""Compiled at the first use, since that takes as long as the start of a command."""


class Document:
    """Read a JSON object part by part. ``job_id``: what its ``job_info`` names, None for none. All
    whole members of a level are one match; one that is not whole yet becomes a level of its own.
    """

    job_id: str | None = None

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._rest, self._levels = "", ["start"]

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next part. Raises WrongResultError if it is not JSON."""
        try:
            text, at = self._rest + self._decoder.decode(data, final), 0
        except ValueError:
            raise WrongResultError(NOT_JSON) from None
        while self._levels and (found := _pattern(_LEVELS[self._levels[-1]]).match(text, at)):
            at, kind = found.end(), found.lastgroup
            if kind == "id":
                self.job_id = json.loads(found["id"])
            elif kind == "close":
                self._levels.pop()
                self._levels = [] if self._levels == ["start"] else self._levels
            elif kind == "open":
                self._enter(found["key"], found["open"])
        self._rest = text[at:] if self._levels else text[at:].strip(" \t\r\n")
        if len(self._rest) > LONGEST or len(self._levels) > DEEPEST:
            raise WrongResultError(TOO_LONG)

    def _enter(self, key: str, bracket: str) -> None:
        is_info = (self._levels[-1], key, bracket) == ("top", '"job_info"', "{")
        self._levels.append("info" if is_info else bracket if len(self._levels) > 1 else "top")

    def end(self) -> None:
        """Take the end. Raises WrongResultError if it comes too soon."""
        self.feed(b"", final=True)
        if self._rest or self._levels:
            raise WrongResultError(NOT_JSON)
