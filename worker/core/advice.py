"""Advise on a failure or a doubt in a sentence, and group messages of one kind. Knows no table."""

import re

from worker.core.model import State
from worker.core.request import BOUGHT_ALREADY

GIVEN_UP = "given up by a person while in doubt: perhaps bought"
"""The error of a doubt that a person has given up."""

_DIFFERS = re.compile(
    r"https?://\S+|'[^']*'|\"[^\"]*\"|\b(?=[\w-]*\d)[\w-]{8,}"
    r"|(?<=which has job )[^;]+|(?<!UTF-)\b(0x[0-9a-f]+|\d+([-:., ]\d+)*)"
)

_BY_STATUS = {
    400: "correct the values that the message names (import --update brings them in), then retry",
    413: "shorten the description, then retry",
    451: "the API may not take this video: cancel it",
}


def remedy(state: State, status: int | None, message: str) -> str:
    """Return the way out for a video in this state with this last result."""
    if state is State.IN_DOUBT:
        return (
            "valossa-ingest reconcile asks the API for it; what that leaves, look up in the "
            "Valossa Portal, then: resolve ID --job-id X, or --give-up, or, if you are sure that "
            "there is no job, retry ID --may-buy-twice"
        )
    if message == GIVEN_UP:
        return "nothing; cancel ID puts it away, retry ID --may-buy-twice sends it again"
    if message.startswith(BOUGHT_ALREADY):
        return "nothing, if once is enough; retry ID --may-buy-twice buys it a second time"
    if "signed link" in message:
        return "sign the links anew and bring them in with import --update"
    if status in {401, 402, 403}:
        return "ask Valossa why this video is refused while others are not, then retry"
    if status is not None and status >= 500:  # noqa: PLR2004 - an HTTP status is its own name
        return "the API could not take it for long: retry"
    if status is None:
        return "correct what the message names (import --update brings it in), then retry"
    return _BY_STATUS.get(status, _BY_STATUS[400])


def kind(message: str) -> str:
    """Return the message with addresses, quoted values, identifiers and numbers blanked."""
    return _DIFFERS.sub("…", message)
