"""Give all peers the bodies of ``bare.py``, and the check that each makes at its end."""

from collections.abc import Sequence


def body(number: int) -> dict[str, object]:
    """Return the JSON of the ``number``-th video."""
    media = {
        "video": {"url": f"https://example.com/videos/{number}.mp4"},
        "customer_media_info": {"id": f"{number:032x}"},
    }
    return {"api_key": "key", "media": media}


def check(job_ids: Sequence[str | None], count: int) -> None:
    """Leave with an error unless these are the job ids of ``count`` videos."""
    distinct = len(set(job_ids) - {None, ""})
    if distinct != count or len(job_ids) != count:
        raise SystemExit(f"{count} videos, {len(job_ids)} rows, {distinct} job ids")
