"""A video as the JSON of ``new_job`` (valossa-api.md, section 3), or what is wrong with it.

The key is no part of it: the one who sends adds it.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from worker.core.link import ends_at
from worker.core.model import REQUEST_COLUMNS, Video

Json = dict[str, object]

_UNREADABLE = re.compile("[\ud800-\udfff]")
_NO_PART_OF_A_URL = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What rows that name none are sent with (settings ``default_*``)."""

    language: str | None = None
    callback_url: str | None = None
    email_group: str | None = None


def body(video: Video, request_id: str, defaults: Defaults) -> Json:
    """The documented body without ``api_key``; what is absent or empty is left out."""
    media: Json = {
        "video": {"url": video.url},
        "transcript": _pruned({"url": video.transcript_url}),
        "customer_media_info": {"id": request_id},
        "description": video.description,
        "title": video.title,
        "language": video.language or defaults.language,
    }
    analysis: Json = {
        "face_min_relative_height": video.face_min_relative_height,
        "face_galleries": _pruned({"custom_gallery": _pruned({"id": video.face_gallery_id})}),
    }
    return _pruned(
        {
            "media": _pruned(media),
            "analysis_parameters": _pruned(analysis),
            "email_notification": _pruned({"to_group": video.email_group or defaults.email_group}),
            "callback": _pruned({"url": video.callback_url or defaults.callback_url}),
        }
    )


def _pruned(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def problem(video: Video, now: datetime, margin: timedelta) -> str | None:
    """Why this video cannot be sent at ``now`` (UTC), naming the column and the way out; None if
    it can. A signed link must live ``margin`` longer: the API downloads later
    (valossa-api.md, section 3).
    """
    return (
        _unreadable_text(video)
        or _bad_link("url", video.url, ("http", "https", "valossaupload"))
        or _bad_link("transcript_url", video.transcript_url, ("http", "https"))
        or _bad_link("callback_url", video.callback_url, ("http", "https"))
        or _bad_height(video.face_min_relative_height)
        or _ending("url", video.url, now, margin)
        or _ending("transcript_url", video.transcript_url, now, margin)
    )


def _unreadable_text(video: Video) -> str | None:
    for column in REQUEST_COLUMNS:
        value = getattr(video, column)
        if isinstance(value, str) and _UNREADABLE.search(value):
            return f"{column}: holds bytes that are not UTF-8; write the value again as UTF-8"
        if isinstance(value, str) and "\0" in value:
            return f"{column}: holds a NUL character; take it out"
    return None


def _bad_link(column: str, link: str | None, schemes: tuple[str, ...]) -> str | None:
    if not link:
        return "url: is empty; give the address of the video file" if column == "url" else None
    if _NO_PART_OF_A_URL.search(link):
        return f"{column}: holds a space or a control character; percent-encode it"
    try:
        parts = urlsplit(link)
        host = parts.hostname and (parts.port, parts.hostname)
    except ValueError as error:
        return f"{column}: is no readable address ({error}); correct it"
    if parts.scheme not in schemes:
        return f"{column}: must begin with {' or '.join(f'{s}://' for s in schemes)}"
    return None if host else f"{column}: names no host; give the whole address"


def _bad_height(height: float | None) -> str | None:
    if height is None or 0 <= height <= 1:
        return None
    return f"face_min_relative_height: {height} is not a share from 0 to 1; correct it"


def _ending(column: str, link: str | None, now: datetime, margin: timedelta) -> str | None:
    end = ends_at(link) if link else None
    if end is None or end >= now + margin:
        return None
    when = end.strftime("%Y-%m-%d %H:%M:%S UTC")
    verb = "ended" if end <= now else "ends too soon,"
    hours = margin.total_seconds() / 3600
    return (
        f"{column}: signed link {verb} {when}; it must live {hours:g} h longer "
        f"(url_margin_seconds): sign it anew and bring it in with import --update"
    )
