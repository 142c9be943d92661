"""Read when a signed link ends, and what it is without its signature. Knows no clock."""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

_COMMON = re.compile(
    r"https?://(?!https?[:/])[A-Za-z0-9.-]+(?:/[!$-;=@-\[\]-~]*)?(?:\?[!$-;=?-\[\]-~]*)?"
    r"(?:#[!#-;=?-\[\]-~]*)?(?<!['`])"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNERS = frozenset(
    {"signature", "awsaccesskeyid", "key-pair-id", "googleaccessid", "ossaccesskeyid"}
)
_DATED = tuple((f"x-{name}-date", f"x-{name}-expires") for name in ("amz", "goog", "oss", "obs"))
"""Names of a start and of the seconds from then on."""
_ESCAPED = re.compile(
    r"&(?:amp;)+|&#(?:0*38|x0*26);|\\u0026|%(?:26|3f)|(%3d|\\u003d)", re.IGNORECASE
)
_ENDS = re.compile(
    r"(?:[?&;~/=,]|\A)(?:x-(?:oss-)?expires|expires?(?:_?at)?|expiry|expiration|exp|e)="
    r"(?:([1-9]\d{9})(?:\d{3})?|(\d{8}T\d{6}Z"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+ -]\d\d:?\d\d)?))(?![\w.:-])",
    re.IGNORECASE,
)
"""An end as many signers write it, in a query or a path: in (milli)seconds since 1970, from 2001
on, or as a moment. A smaller number may be a duration, or no time at all.
"""
_CLOUDFRONT_BASE64 = str.maketrans("-_~", "+=/")
_SURE = re.compile(
    r"x-(?:amz|goog|oss)-signature|q-signature|(?:aws|oss)accesskeyid|googleaccessid|key-pair-id"
    r"|hdn(?:ts|ea|tl)|__token__|__gda__|wowzatokenhash|tempauth"
)
"""Names that only a signer adds."""
_TOKEN = re.compile(
    "(?:x-)?signature|sign?|hmac|verify|jwt|auth_key|(?:(?:access|auth|fastly|akamai)_)?token"
)
"""Names of a signature, where one of an end is beside it or a media file is meant."""
_CHECKSUM = re.compile("md5|hash|oh|txsecret|secure")
"""Names of a signature beside one of an end, where none of the others is there."""
_END = re.compile("(?:x-)?expires?|expires_at|expiry|exp|oe|txtime|s[ei]")
_CLOCK = re.compile("e|st|t|ts|timestamp")
"""Names of an end where none of the others is there."""
_AZURE = re.compile("s[vsrpteg]|srt|si[gp]?|spr|sdd|ses|tn|sk[etsv]|sk[ot]id|s[au]oid|rsc[cdelt]")
_ADDED = re.compile(
    r"(?:x-(?:amz|goog|oss|cos|obs)-|response-|wowzatoken|q-|token_).*"
    r"|security-token|policy|x-id|acl|hash-algorithm"
)
_MEDIA = re.compile(
    r"mp[34g]|m4[av]|mov|mkv|webm|avi|mpe?g|m?ts|m2ts|mxf|wmv|flv|3gp|og[gv]|m3u8|mpd|wav|srt|vtt",
    re.IGNORECASE,
)
_HEAD = re.compile(r"(https?://)([^/]*@)?([^/@]*)(.*)", re.IGNORECASE | re.DOTALL)
_PLAIN = re.compile(r"https?://[a-z0-9.-]+(?:/|$)")


def ends_at(url: str) -> datetime | None:
    """Return when the signed link ``url`` stops working (UTC): by the rules of its signer, else by
    the names that many signers share, of which the latest counts. None if no end can be read.
    Raises nothing, for any string.
    """
    if "=" not in url and "%3" not in url:
        return None
    whole = url.partition("#")[0]
    try:
        return _end(_parameters(whole.partition("?")[2])) or _end_of_others(url, whole)
    except (ValueError, OverflowError, RecursionError):
        return None


def _end_of_others(url: str, whole: str) -> datetime | None:
    plain = whole
    if "%" in url or "&amp" in url.lower() or "&#" in url or "\\" in url:
        plain = _ESCAPED.sub(lambda found: "=" if found[1] else "&", url).partition("#")[0]
    end = None
    if plain != whole or whole.count("?") > 1:
        end = _end(_parameters(plain.replace("?", "&")))
    return end or max(map(_shared_end, _ENDS.findall(unquote(plain))), default=None)


def _shared_end(found: tuple[str, str]) -> datetime:
    seconds, moment = found
    return _EPOCH + _seconds(seconds) if seconds else _instant(moment.upper())


def unsigned(url: str) -> str | None:
    """Return ``url`` as other spellings and signatures of it have it too; None if that is ``url``.

    What signers add is left out, and a default port; scheme and host are in small letters. Raises
    nothing.
    """
    whole, hash_, fragment = url.partition("#")
    head, mark, query = whole.partition("?")
    if not _PLAIN.match(head):
        parts = _HEAD.fullmatch(head)
        if parts is None:
            return None
        scheme, user, host, path = parts.groups("")
        scheme = scheme.lower()
        host = host.lower().removesuffix(":443" if scheme == "https://" else ":80")
        head = f"{scheme}{user}{host}{path}"
    if mark:
        pairs = [pair.partition("=") for pair in query.split("&")]
        is_media = _MEDIA.fullmatch(head.rpartition(".")[2]) is not None
        added = _added(tuple(name for name, _, _ in pairs), is_media)
        kept = "&".join("".join(pair) for pair in pairs if pair[0] not in added)
        head = f"{head}?{kept}" if kept else head
    same = f"{head}{hash_}{fragment}"
    return None if same == url else same


@lru_cache(maxsize=1_000)
def _added(given: tuple[str, ...], is_media: bool) -> frozenset[str]:  # noqa: FBT001 - a cache's key
    """Return those names of a query's parameters that a signer has added."""
    names = {name: _decoded(name).lower() for name in given}

    def has(pattern: re.Pattern[str]) -> bool:
        return any(map(pattern.fullmatch, names.values()))

    ends = has(_END)
    if has(_SURE) or (has(_TOKEN) and (ends or is_media)):
        azure = "sig" in names.values()
        added = [_SURE, _TOKEN, _END, _ADDED, *([_AZURE] * azure), *([_CLOCK] * (not ends))]
    else:
        added = [_CHECKSUM, _END] if ends and has(_CHECKSUM) else []
    return frozenset(n for n, name in names.items() if any(a.fullmatch(name) for a in added))


def is_common(url: str) -> bool:
    """Return True if ``url`` is a plain web link; False means only that a full check is needed."""
    return _COMMON.fullmatch(url) is not None and ";" not in url and url.find("://", 8) < 0


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters that have a value, by lower-case name; the values stay encoded."""
    pairs = (pair.partition("=") for pair in query.split("&"))
    return {_decoded(name).lower(): value for name, _, value in pairs if value}


def _decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _end(parameters: Mapping[str, str]) -> datetime | None:
    for start, seconds in _DATED:
        if start in parameters and seconds in parameters:
            return _instant(parameters[start]) + _seconds(parameters[seconds])
    match parameters:
        case {"q-sign-time": span}:
            return _EPOCH + _seconds(_decoded(span).partition(";")[2])
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
