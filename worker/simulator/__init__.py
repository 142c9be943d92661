"""A local imitation of the Valossa Core API, with faults to order.

It serves `valossa-ingest simulate`, the demo, and the tests as their judge: what it says was
accepted is what the worker bought. A judge shares nothing with the accused, so this package uses
aiohttp.web and the standard library and nothing else of the project. The key of a request is
compared and then forgotten: it is in no record, no file and no answer but that of `echo-key`.

Reading order: faults, limit, lists, options, fields (pure), book, answers, server.
"""

from worker.simulator.book import Job
from worker.simulator.faults import KINDS, parse_failure
from worker.simulator.limit import Change, Limit, parse_change, parse_limit
from worker.simulator.lists import LIST_KINDS
from worker.simulator.options import Options
from worker.simulator.server import LIMITED, Request, Simulator

__all__ = [
    "KINDS",
    "LIMITED",
    "LIST_KINDS",
    "Change",
    "Job",
    "Limit",
    "Options",
    "Request",
    "Simulator",
    "parse_change",
    "parse_failure",
    "parse_limit",
]
