"""Name the steps of an upload and the kinds of trouble of each. Pure."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from worker.simulator import faults

EXAMPLE: Final = "chunk:lost=0.05"
CHUNK_BYTES: Final = 4 << 20
"""As in the documentation's example."""


class Step(StrEnum):
    """A step of an upload, each one endpoint."""

    INITIALIZE = "initialize"
    CHUNK = "chunk"
    FINALIZE = "finalize"


DONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "doubled": "done and answered; then the same answer again, unasked",
        "empty": "done; 200 with {}",
        "half": "done; the head and half of the JSON are sent; closed",
        "lost": "done; the connection is reset before the answer",
        "lost-502": "done; then a proxy's 502 page",
        "lost-fin": "done; the connection is closed in good order without an answer",
        "not-json": "done; 200 with plain text",
        "stall": "done; silent until released",
    }
)
"""Kinds after which the step is done."""

LEFT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{kind: faults.TURNED_AWAY[kind] for kind in ("STATUS", "echo-key", "proxy-STATUS")},
        **{kind: faults.TURNED_AWAY[kind] for kind in ("redirect", "reset", "reset-early")},
        "retry-after-STATUS": faults.TURNED_AWAY["retry-after-STATUS"],
    }
)
"""Kinds after which it is not."""

OF_INITIALIZE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "huge-chunks": "the chunks shall have 1 GiB",
        "no-chunks": "the chunks shall have 0 bytes",
        "texts": "the chunk size is a text",
        "unknown": "the upload_id that is answered is known to nobody",
    }
)
OF_CHUNK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "forgotten": "404; the upload is thrown away",
        "unkept": "answered as if done; the chunk is thrown away",
    }
)
OF_FINALIZE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deep": "done; the address stands in a list within an object, under another name",
        "forgotten": OF_CHUNK["forgotten"],
        "other-scheme": "done; the address is one of the web",
        "several": "done; two addresses",
        "twice": "done; the same address under two names",
    }
)

KINDS: Final[Mapping[Step, Mapping[str, str]]] = MappingProxyType(
    {
        Step.INITIALIZE: dict(sorted({**DONE, **LEFT, **OF_INITIALIZE}.items())),
        Step.CHUNK: dict(sorted({**DONE, **LEFT, **OF_CHUNK}.items())),
        Step.FINALIZE: dict(sorted({**DONE, **LEFT, **OF_FINALIZE}.items())),
    }
)

UPLOAD_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {f"{step}:{kind}": meaning for step, kinds in KINDS.items() for kind, meaning in kinds.items()}
)
"""Every kind of trouble with its meaning in one line, for help texts."""


@dataclass(frozen=True)
class Uploading:
    """The options of uploads.

    Attributes:
        chunk_bytes: The chunk size that is answered.
        failures: Step -> kind of trouble -> share of its requests (0 to 1, in sum at most 1).
        script: Step -> number of its request, from 1 -> kind; wins over `failures`.
        life_seconds: Age from which an upload that is not finished is known no more.
        latency_seconds: Time before each answer.

    Raises ValueError for an unknown step or kind, or an impossible share.

    """

    chunk_bytes: int = CHUNK_BYTES
    failures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    script: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    life_seconds: float = math.inf
    latency_seconds: float = 0.0

    def __post_init__(self) -> None:
        for step, kinds in self.script.items():
            for kind in kinds.values():
                check_kind(step, kind)
        for step, shares in self.failures.items():
            for kind, share in shares.items():
                check_kind(step, kind)
                faults.check_share(share)
            faults.check_share(round(math.fsum(shares.values()), 9))
        if self.chunk_bytes < 1:
            raise ValueError(f"chunks of {self.chunk_bytes} bytes hold nothing; 4194304 is usual")

    def kind_of(self, step: Step, number: int, seed: int) -> str | None:
        """Return the kind of trouble of the step's `number`-th request, None for none."""
        return faults.kind_of(
            number,
            script=self.script.get(step, {}),
            failures=self.failures.get(step, {}),
            seed=seed * len(Step) + list(Step).index(step),
        )


def check_kind(step: str, kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of trouble of the step."""
    if step not in list(Step):
        raise ValueError(f"{step!r} is no step of an upload; take one of: {', '.join(Step)}")
    kinds = KINDS[Step(step)]
    if faults.status_of(kind) is None and (kind not in kinds or "STATUS" in kind):
        raise faults.no_such(kind, f"trouble of {step}", kinds)


def parse_upload_failures(texts: Collection[str]) -> dict[str, dict[str, float]]:
    """Read `STEP:KIND=SHARE`, such as `chunk:lost=0.05`; raise ValueError naming value and way
    out.
    """
    failures: dict[str, dict[str, float]] = {}
    for text in texts:
        step, _, rest = text.partition(":")
        kind, _, share = rest.partition("=")
        try:
            failures.setdefault(step, {})[kind] = float(share)
        except ValueError:
            raise ValueError(f"{text!r} is not STEP:KIND=SHARE; write such as {EXAMPLE}") from None
    return failures
