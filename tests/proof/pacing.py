"""What the judge of the pace counts: the moments at which requests came, by the API's own log."""

from collections.abc import Iterator, Sequence

from worker.simulator import LIMITED, Request


def moments(requests: Sequence[Request]) -> list[float]:
    """When they arrived, in seconds from the first on, in order."""
    arrived = sorted(request.arrived_at for request in requests)
    return [at - arrived[0] for at in arrived]


def fullest(arrivals: Sequence[float], period: float) -> int:
    """The most that any sliding period holds."""
    most, first = 0, 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most


def within(arrivals: Sequence[float], begin: float, end: float) -> int:
    """How many arrived from ``begin`` on and before ``end``."""
    return sum(begin <= at < end for at in arrivals)


def let_through(requests: Sequence[Request]) -> Iterator[tuple[float, bool]]:
    """Each request as its second, counted from the first, and whether the limit let it through."""
    for request in requests:
        yield request.arrived_at - requests[0].arrived_at, request.kind != LIMITED
