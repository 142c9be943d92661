"""Read when a signed link ends. Knows the signers' parameters, but no clock."""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus, urlsplit

_COMMON = re.compile(r"https?://[A-Za-z0-9.-]+(?:/[!-\"$->@-~]*)?(?:\?([!-\"$-~]*))?(?:#[!-~]*)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNERS = frozenset({"signature", "awsaccesskeyid", "key-pair-id", "googleaccessid"})
_CLOUDFRONT_BASE64 = str.maketrans("-_~", "+=/")


def ends_at(url: str) -> datetime | None:
    """Return when the signed link ``url`` stops working (UTC). None for a URL not signed in a known
    way (S3, CloudFront, Google Cloud Storage, Azure SAS), and for one whose end cannot be read.
    Raises nothing, for any string.
    """
    if "?" not in url:
        return None
    common = _COMMON.fullmatch(url)
    try:
        return _end(_parameters((common[1] or "") if common else urlsplit(url).query))
    except (ValueError, OverflowError, RecursionError):
        return None


def is_common(url: str) -> bool:
    """Return True if ``url`` is a plain web link; False means only that a full check is needed."""
    return _COMMON.fullmatch(url) is not None


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters that have a value, by lower-case name; the values stay encoded."""
    parameters = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if value:
            parameters[_decoded(name).lower()] = value
    return parameters


def _decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _end(parameters: Mapping[str, str]) -> datetime | None:
    match parameters:
        case {"x-amz-date": start, "x-amz-expires": seconds}:
            return _instant(start) + _seconds(seconds)
        case {"x-goog-date": start, "x-goog-expires": seconds}:
            return _instant(start) + _seconds(seconds)
        case {"expires": epoch} if not _SIGNERS.isdisjoint(parameters):
            return _EPOCH + _seconds(epoch)
        case {"se": end, "sig": _}:
            return _instant(end)
        case {"policy": policy}:
            return _policy_end(policy)
    return None


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=int(_decoded(text)))


def _instant(text: str) -> datetime:
    # An unescaped "+" has become a space in the query string.
    moment = datetime.fromisoformat(_decoded(text).replace(" ", "+"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _policy_end(policy: str) -> datetime | None:
    document: object = json.loads(base64.b64decode(_decoded(policy).translate(_CLOUDFRONT_BASE64)))
    match document:
        case {"Statement": [{"Condition": {"DateLessThan": {"AWS:EpochTime": int(epoch)}}}, *_]}:
            return _EPOCH + timedelta(seconds=epoch)
    return None
