"""Write a video as the JSON of ``new_job`` (worker/api/README.md, section 3), or name its problem.

The client adds the API key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from urllib.parse import urlsplit

from worker.core.file_address import is_file
from worker.core.file_address import problem as file_problem
from worker.core.link import cleaned, fault
from worker.core.model import REQUEST_COLUMNS, State, Twin, Video
from worker.core.signed_link import ends_at, is_common

Json = dict[str, object]

LINKS = {
    "url": ("http", "https", "valossaupload"),
    "transcript_url": ("http", "https"),
    "callback_url": ("http", "https"),
}
"""The columns that hold a link, each with the schemes that it may have."""

_values = attrgetter(*REQUEST_COLUMNS)
BOUGHT_ALREADY = "url: is that of video"
"""The beginning of the error of a video whose address another one has bought, or may have."""

_UNREADABLE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values for rows that have none (settings ``default_*``)."""

    language: str | None = None
    callback_url: str | None = None
    email_group: str | None = None


def body(
    video: Video, request_id: str, defaults: Defaults, callback_url: str | None = None
) -> Json:
    """Return the documented body without ``api_key``; absent and empty values are left out.
    ``callback_url``: for a row that names none, where no default does either.
    """
    media: Json = {"video": {"url": video.url}, "customer_media_info": {"id": request_id}}
    whole: Json = {"media": media}
    parameters: Json = {}
    if video.transcript_url:
        media["transcript"] = {"url": video.transcript_url}
    if video.title:
        media["title"] = video.title
    if video.description:
        media["description"] = video.description
    if language := video.language or defaults.language:
        media["language"] = language
    if video.face_min_relative_height is not None:
        parameters["face_min_relative_height"] = video.face_min_relative_height
    if video.face_gallery_id:
        parameters["face_galleries"] = {"custom_gallery": {"id": video.face_gallery_id}}
    if parameters:
        whole["analysis_parameters"] = parameters
    if group := video.email_group or defaults.email_group:
        whole["email_notification"] = {"to_group": group}
    if callback := video.callback_url or defaults.callback_url or callback_url:
        whole["callback"] = {"url": callback}
    return whole


def problem(video: Video, now: datetime, margin: timedelta) -> str | None:
    """Return why this video cannot be sent at ``now`` (UTC), with the way out; None if it can. A
    signed link must live ``margin`` longer: the API downloads later (worker/api/README.md, section
    3).
    """
    return problem_of(dict(zip(REQUEST_COLUMNS, _values(video), strict=True)), now, margin)


_HOW_BOUGHT = {State.SUBMITTING: "is in flight", State.IN_DOUBT: "is in doubt"}


def bought_already(video_id: int, twin: Twin) -> str:
    """Return why a video whose address a twin has bought, or may have, is not sent (law 17)."""
    how = f"has job {twin.job_id}"
    if twin.job_id is None:
        how = _HOW_BOUGHT.get(twin.state, "had a job, or may have one")
    return (
        f"{BOUGHT_ALREADY} {twin.video_id}, which {how}; to buy it a second time: "
        f"valossa-ingest retry id={video_id} --may-buy-twice"
    )


def problem_of(given: Mapping[str, object], now: datetime, margin: timedelta) -> str | None:
    """Return the same for a video given by column; absent columns may be missing or None. Text of
    other columns must be readable too.
    """
    return (
        _unreadable_text(given)
        or _bad_links(given)
        or _bad_height(given.get("face_min_relative_height"))
        or _endings(given, now, margin)
    )


def _unreadable_text(given: Mapping[str, object]) -> str | None:
    together = "".join([text for text in given.values() if isinstance(text, str)])
    if "\0" not in together and (together.isascii() or not _UNREADABLE.search(together)):
        return None
    texts = {column: text for column, text in given.items() if isinstance(text, str)}
    column, text = next((c, t) for c, t in texts.items() if "\0" in t or _UNREADABLE.search(t))
    if _UNREADABLE.search(text):
        return f"{column}: holds bytes that are not UTF-8; write the value again as UTF-8"
    return f"{column}: holds a NUL character; take it out"


def _bad_links(given: Mapping[str, object]) -> str | None:
    if not given.get("url"):
        return "url: is empty; give the address of the video file"
    for column, schemes in LINKS.items():
        link = given.get(column)
        if isinstance(link, str) and link and not is_common(link):
            bad = _bad_link(column, link, schemes)
            if bad is not None:
                return bad
    return None


def _bad_link(column: str, link: str, schemes: tuple[str, ...]) -> str | None:
    if column == "url" and is_file(link):
        bad = file_problem(link)
        return bad and f"{column}: {bad}"
    if notes := cleaned(link)[1]:
        return f"{column}: needs {', '.join(notes)}; export it, and import --update does that"
    if bad := fault(link):
        return f"{column}: {bad}"
    try:
        parts = urlsplit(link)
        host = parts.hostname and (parts.port, parts.hostname)
    except ValueError as error:
        return f"{column}: is no readable address ({error}); correct it"
    if parts.scheme not in schemes:
        named = (*schemes, "file") if column == "url" else schemes
        return f"{column}: must begin with {' or '.join(f'{each}://' for each in named)}"
    return None if host else f"{column}: names no host; give the whole address"


def _bad_height(height: object) -> str | None:
    if height is None or (isinstance(height, int | float) and 0 <= height <= 1):
        return None
    return f"face_min_relative_height: {height} is not a share from 0 to 1; correct it"


def _endings(given: Mapping[str, object], now: datetime, margin: timedelta) -> str | None:
    for column in ("url", "transcript_url"):
        link = given.get(column)
        end = ends_at(link) if isinstance(link, str) and not is_file(link) else None
        if end is not None and end < now + margin:
            verb = "ended" if end <= now else "ends too soon,"
            hours = margin.total_seconds() / 3600
            return (
                f"{column}: signed link {verb} {end:%Y-%m-%d %H:%M:%S UTC}; it must live "
                f"{hours:g} h longer (url_margin_seconds): sign it anew and bring it in with "
                "import --update"
            )
    return None
