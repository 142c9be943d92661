"""Name the results of a job, and read one part by part as JSON, in memory that its depth takes.

Knows no HTTP and no disk.
"""

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

DEEPEST = 1_000
"""Arrays and objects inside of each other."""

LONGEST = 1024 * 1024
"""Characters of a name, a number or a job id."""

TRIES, FIRST_WAIT = 10, timedelta(seconds=30)
"""A result that is late by three hours is a failure."""

NOT_JSON = "it is not JSON to its end"

_SAFE = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")
"""A job id that is a file name, in any mixture of cases the same."""


def path_of(job_id: str, accepted_at: datetime, kind: str) -> str:
    """Return the path of a result below ``results_dir``. No two jobs share a path."""
    name = job_id if _SAFE.fullmatch(job_id) else f"_{_digest(job_id)}"
    return f"{accepted_at:%Y-%m}/{name}.{kind}.{ENDINGS[kind]}"


def _digest(text: str) -> str:
    from hashlib import sha256  # noqa: PLC0415 - slow to load, for ids that no API has shown yet

    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@value
class Undelivered:
    """The reason why there is no result.

    Attributes:
        spent: False where the network or the account is the reason (law 7).
        retry_after: Seconds that the API asked everybody to wait; None where it asked for none.
    """

    reason: str
    spent: bool = True
    retry_after: float | None = None


def again_after(tries: int) -> timedelta | None:
    """Return the wait after so many wrong answers, doubled up to an hour; None to give up."""
    return None if tries >= TRIES else min(timedelta(hours=1), 2**tries * FIRST_WAIT)


class WrongResultError(Exception):
    """The answer is not the result that was asked for; the message says why."""


_SPACE = r"[ \t\r\n]*+"
_CHARACTERS = r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_TEXT, _COLON = f'"{_CHARACTERS}"', f"{_SPACE}:{_SPACE}"
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = f"(?:{_TEXT}|{_NUMBER}|true|false|null)"
_NEXT = rf"{_SPACE}(?:,{_SPACE}(?=[^\]}}])|(?=[\]}}]))"


def _members(value: str, key: str = "") -> str:
    return f"(?:{key}{value}{_NEXT})*+"


def _nested(value: str) -> str:
    array, members = _members(value), _members(value, _TEXT + _COLON)
    return rf"(?:{_SCALAR}|\[{_SPACE}{array}\]|\{{{_SPACE}{members}\}})"


_VALUE = _nested(_nested(_nested(_SCALAR)))
_PAIR, _OPEN = _TEXT + _COLON, rf'(?:([\[{{]){_SPACE}|"{_CHARACTERS})'
_NO_INFO, _NO_ID = rf'(?!"job_info"{_COLON}\{{)', f'(?!"job_id"{_COLON}")'
_BEGIN = f"({_TEXT}){_COLON}{_OPEN}"
_LEVELS = {
    "": ("", rf"()([\[{{]){_SPACE}"),
    "[": (_members(_VALUE), f"(){_OPEN}"),
    "{": (_members(_VALUE, _PAIR), _BEGIN),
    "top": (_members(_VALUE, _NO_INFO + _PAIR), _BEGIN),
    "info": (_members(_VALUE, _NO_ID + _PAIR), _NO_ID + _BEGIN),
}
"""At each kind of level all whole members that come next, and the begin of one that is not whole
yet: an array, an object, or a text.
"""

_JOB_ID = f'"job_id"{_COLON}({_TEXT}){_NEXT}'

_pattern = cache(re.compile)
"""Compiled at the first use, since that takes as long as a command's whole start."""


class Document:
    """Read a JSON document part by part. ``job_id``: what its ``job_info`` names, None for none.

    All whole members of a level are one match; what is not whole yet becomes a level of its own.
    """

    job_id: str | None = None

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._rest = ""
        self._levels = [""]
        self._in_text = self._ended = False

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next part. Raises WrongResultError if it is not JSON, or names two jobs."""
        try:
            text, at, before = self._rest + self._decoder.decode(data, final), 0, -1
        except ValueError:
            raise WrongResultError(NOT_JSON) from None
        while before < at:
            before, at = at, self._step(text, at)
        self._rest = text[at:]
        if len(self._rest) > LONGEST:
            raise WrongResultError(NOT_JSON)

    def end(self) -> None:
        """Take the end. Raises WrongResultError if it comes too soon."""
        self.feed(b"", final=True)
        if self._rest or self._in_text or self._levels != [""] or not self._ended:
            raise WrongResultError(NOT_JSON)

    def _step(self, text: str, at: int) -> int:
        """Go on in the text that is open, behind a value, or to the next members."""
        if self._in_text:
            at = _found(_CHARACTERS, text, at)
            self._in_text = text[at : at + 1] != '"'
            self._ended = not self._in_text
            return at + self._ended
        at = _found(_SPACE, text, at)
        if self._ended:
            found = _pattern(_NEXT).match(text, at) if self._levels[-1] else None
            if found is None:
                return at
            self._ended, at = False, found.end()
        return self._member(text, at)

    def _member(self, text: str, at: int) -> int:
        level = self._levels[-1]
        whole, begin = _LEVELS[level]
        # 1. Whole members. 2. The end of the level. 3. The job's id. 4. The begin of a member.
        if (end := _found(whole, text, at)) > at:
            return end
        if level and text[at : at + 1] == ("]" if level == "[" else "}"):
            self._levels.pop()
            self._ended = True
            return at + 1
        if level == "info" and (found := _pattern(_JOB_ID).match(text, at)):
            self._name(json.loads(found[1]))
        elif found := _pattern(begin).match(text, at):
            self._enter(found[1], found[2])
        return found.end() if found else at

    def _enter(self, key: str, bracket: str | None) -> None:
        is_info = self._levels[-1] == "top" and key == '"job_info"'
        if len(self._levels) > DEEPEST:
            raise WrongResultError(NOT_JSON)
        if bracket is None:
            self._in_text = True
        elif bracket == "{" and (is_info or len(self._levels) == 1):
            self._levels.append("info" if is_info else "top")
        else:
            self._levels.append(bracket)

    def _name(self, job_id: str) -> None:
        if self.job_id not in {None, job_id}:
            raise WrongResultError("it names two jobs")
        self.job_id = job_id


def _found(pattern: str, text: str, at: int) -> int:
    found = _pattern(pattern).match(text, at)
    return found.end() if found else at
