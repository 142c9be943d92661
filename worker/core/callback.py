"""Sign the address that the API calls when a job has ended, and read a signed name. Pure."""

import hmac


def url(base_url: str, secret: str, video_id: int) -> str:
    """Return the address for the job of a video."""
    return f"{base_url.rstrip('/')}/callback/{token(secret, video_id)}"


def token(secret: str, video_id: int) -> str:
    """Return the id of a video with its signature."""
    signed = hmac.digest(secret.encode(), f"callback {video_id}".encode(), "sha256")
    return f"{video_id}-{signed.hex()}"


def video_of(secret: str, given: str) -> int | None:
    """Return the video that a token names, None if it is not signed with the secret."""
    number = given.partition("-")[0]
    is_id = number.isascii() and number.isdecimal() and len(number) < 19  # noqa: PLR2004 - fits 63 bits
    right = token(secret, int(number) if is_id else 0)
    is_signed = hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))
    return int(number) if is_signed else None
