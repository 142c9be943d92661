"""When a signed link ends. Knows the spellings of the signers, not the time of day."""

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNERS = frozenset({"signature", "awsaccesskeyid", "key-pair-id", "googleaccessid"})
_CLOUDFRONT_BASE64 = str.maketrans("-_~", "+=/")


def ends_at(url: str) -> datetime | None:
    """When the signed link ``url`` stops working, as a time in UTC.

    None for a URL that is signed in no known way (S3, CloudFront, Google Cloud Storage, Azure
    SAS), and for one whose end cannot be read. Raises nothing, whatever the string.
    """
    try:
        query = urlsplit(url).query
        return _end({name.lower(): value for name, value in parse_qsl(query)})
    except (ValueError, OverflowError, RecursionError):
        return None


def _end(parameters: dict[str, str]) -> datetime | None:
    match parameters:
        case {"x-amz-date": start, "x-amz-expires": seconds}:
            return _instant(start) + timedelta(seconds=int(seconds))
        case {"x-goog-date": start, "x-goog-expires": seconds}:
            return _instant(start) + timedelta(seconds=int(seconds))
        case {"expires": epoch} if not _SIGNERS.isdisjoint(parameters):
            return _EPOCH + timedelta(seconds=int(epoch))
        case {"se": end, "sig": _}:
            return _instant(end)
        case {"policy": policy}:
            return _policy_end(policy)
    return None


def _instant(text: str) -> datetime:
    # A "+" that nobody escaped has become a space on the way through the query string.
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _policy_end(policy: str) -> datetime | None:
    document: object = json.loads(base64.b64decode(policy.translate(_CLOUDFRONT_BASE64)))
    match document:
        case {"Statement": [{"Condition": {"DateLessThan": {"AWS:EpochTime": int(epoch)}}}, *_]}:
            return _EPOCH + timedelta(seconds=epoch)
    return None
