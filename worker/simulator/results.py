"""Build the results of a job as bytes, part by part, so that none is held whole. Pure.

Types and fields: worker/api/README.md, section 5. The same job always has the same results, so a
judge can build them anew.
"""

import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from worker.simulator import faults
from worker.simulator.book import Job

RESULT_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STATUS": "a number from 100 to 599: that status with the documented errors",
        "compressed": "sent with Content-Encoding: gzip",
        "cut": "Content-Length promises all, the first half is sent; closed",
        "cut-chunk": "in chunks without a length, the first half is sent; closed",
        "cut-compressed": "as compressed, but only the first half is sent; closed",
        "echo-key": "400 whose message repeats the api_key",
        "empty": "200 with nothing",
        "half": "half of the document, as if it were all",
        "not-json": "200 with plain text",
        "proxy-STATUS": "that status with a proxy's HTML page; 200 too",
        "reset": "the connection is reset",
        "retry-after-STATUS": "that status with the documented errors and Retry-After: 1",
        "wrong-id": "the results of a job with another id",
    }
)
"""Every kind of trouble of job_results with its meaning in one line, for help texts."""

ANSWERED: Final = {"compressed", "cut", "cut-chunk", "cut-compressed", "half", "wrong-id"}
"""Kinds that send a document or a part of it."""

JSON_TYPES: Final = (
    *("core", "frames_faces", "seconds_objects", "frames_objects", "visual_captions"),
)
TEXT_TYPES: Final = tuple(f"speech_to_text_{form}" for form in ("srt", "vtt", "ttml", "avid_txt"))
RESULT_TYPES: Final = (*JSON_TYPES, *TEXT_TYPES)

_MORE: Final = b', {"ss": 1.25, "se": 4.75}'
_MORE_AT_ONCE: Final = 2_000


def check_kind(kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of trouble of job_results."""
    if faults.status_of(kind) is None and (kind not in RESULT_KINDS or "STATUS" in kind):
        raise faults.no_such(kind, "results", RESULT_KINDS)


def parse_result_failure(text: str) -> tuple[str, float]:
    """Read `cut=0.05`; raise ValueError naming the value and the way out."""
    return faults.parse_failure(text, check_kind, "cut")


def size(job: Job, kind: str, least: int) -> int:
    """Return the number of bytes of `parts`."""
    return len(_MORE) * _more(job, kind, least) + sum(map(len, _ends(job, kind)))


def parts(job: Job, kind: str, least: int) -> Iterator[bytes]:
    """Yield the results of this type, at least so many bytes of `core`."""
    head, tail = _ends(job, kind)
    yield head
    left = _more(job, kind, least)
    while left > 0:
        yield _MORE * min(left, _MORE_AT_ONCE)
        left -= _MORE_AT_ONCE
    yield tail


def document(job: Job, kind: str, least: int = 0) -> bytes:
    """Return the results of this type whole, for a judge."""
    return b"".join(parts(job, kind, least))


def _more(job: Job, kind: str, least: int) -> int:
    """Return how many more occurrences fill `core` to that size."""
    missing = least - sum(map(len, _ends(job, kind)))
    return max(0, math.ceil(missing / len(_MORE))) if kind == "core" else 0


def _ends(job: Job, kind: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind further occurrences."""
    if kind in TEXT_TYPES:
        return _TEXTS[kind].encode(), b""
    version = {"version_info": {"metadata_type": kind, "metadata_format": "1.8.1"}}
    if kind != "core":
        return json.dumps({**version, **_DETAILS[kind]}).encode(), b""
    head, tail = json.dumps({**version, **_core(job)}).split(_MARK, 1)
    return (head + _MARK).encode(), tail.encode()


def _core(job: Job) -> Mapping[str, object]:
    """Return the detections of a job, before or behind its id; nothing documents the order."""
    media: dict[str, object] = {"video": {"url": job.url}}
    if job.request_id is not None:
        media["customer_media_info"] = {"id": job.request_id}
    about = {
        "job_info": {"job_id": job.job_id, "request": {"media": media}},
        "media_info": {"technical": {"duration_s": 61.5, "fps": 25.0}},
    }
    found = {
        "detections": {
            "1": {"t": "visual.context", "label": "street", "occs": [{"ss": 1.2, "se": 4.8}]}
        },
        "detection_groupings": {"by_detection_type": {"visual.context": ["1"]}},
    }
    return {**about, **found} if job.job_id[:1] in "01234567" else {**found, **about}


_MARK: Final = '"se": 4.8}'
_DETAILS: Final[Mapping[str, Mapping[str, object]]] = {
    "frames_faces": {"faces_by_frame": [[{"id": "1", "x": 0.1, "y": 0.2, "w": 0.1, "h": 0.2}]]},
    "seconds_objects": {"objects_by_second": [[{"id": "2", "x": 0.3, "y": 0.3}]]},
    "frames_objects": {"objects_by_frame": [[{"id": "2", "x": 0.3, "y": 0.3}]]},
    "visual_captions": {
        "selected_sections": [
            {
                "caption": "A street in the rain.",
                "section": {"s_start": 0.0, "s_end": 4.8, "shot_index": 0},
            }
        ]
    },
}
_TEXTS: Final[Mapping[str, str]] = {
    "speech_to_text_srt": "1\n00:00:01,000 --> 00:00:02,500\nGood evening.\n\n",
    "speech_to_text_vtt": "WEBVTT\n\n00:01.000 --> 00:02.500\nGood evening.\n",
    "speech_to_text_ttml": '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml">'
    '<body><div><p begin="1s" end="2.5s">Good evening.</p></div></body></tt>\n',
    "speech_to_text_avid_txt": "<begin subtitles>\n\n00:00:01:00 00:00:02:12\nGood evening.\n\n"
    "<end subtitles>\n",
}
