"""Check a body against the documented fields (worker/api/README.md, sections 3 and 7). Pure.

The API's own strictness is unknown; this check is as strict as the documentation allows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Check: TypeAlias = Callable[[object], bool]
Fields: TypeAlias = "Mapping[str, Fields | Check]"


def problems(
    body: Mapping[str, object], fields: Fields, required: Collection[str]
) -> tuple[str, ...]:
    """Return a message for every missing, unknown or invalid field, named by its dotted path."""
    missing = [f"Missing required field: {path}" for path in required if dig(body, path) is None]
    return (*missing, *_wrong(body, fields, ""))


def dig(body: object, path: str) -> object:
    """Return the value at the dotted path in nested objects, or None."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _wrong(body: Mapping[str, object], fields: Fields, prefix: str) -> Iterator[str]:
    for name, value in body.items():
        rule = fields.get(name)
        if rule is None:
            yield f"Unknown field: {prefix}{name}"
        elif isinstance(rule, Mapping) and isinstance(value, dict) and value:
            yield from _wrong(value, rule, f"{prefix}{name}.")
        elif isinstance(rule, Mapping) or not rule(value):
            yield f"Invalid value: {prefix}{name}"


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _link(value: object, schemes: Collection[str] = ("http", "https")) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc)


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


NEW_JOB: Final[Fields] = MappingProxyType(
    {
        "api_key": _text,
        "media": {
            "video": {"url": partial(_link, schemes=("http", "https", "valossaupload"))},
            "transcript": {"url": _link},
            "customer_media_info": {"id": _text},
            "description": _text,
            "title": _text,
            "language": _text,
        },
        "analysis_parameters": {
            "face_min_relative_height": _share,
            "face_galleries": {"custom_gallery": {"id": _text}},
        },
        "email_notification": {"to_group": _text},
        "callback": {"url": _link},
    }
)
NEW_JOB_REQUIRED: Final = ("media.video.url",)

CANCEL_JOB: Final[Fields] = MappingProxyType({"api_key": _text, "job_id": _text})
CANCEL_JOB_REQUIRED: Final = ("job_id",)
