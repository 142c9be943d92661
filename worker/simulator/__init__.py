"""Imitate the Valossa Core API locally, with faults on request.

It serves `valossa-ingest simulate`, the demo and the tests, which compare its accepted jobs with
the worker's table. A judge must share no code with what it judges, so this package imports nothing
else of the project. The key of a request is compared and dropped; only `echo-key` repeats it.

Reading order: faults, limit, lives, lists, polls, results, upload_kinds, options, fields (pure),
book, jobs, answers, questions, chunks, uploads, server.
"""

from worker.simulator.book import End, Job
from worker.simulator.faults import KINDS, parse_failure
from worker.simulator.limit import Change, Limit, parse_change, parse_limit
from worker.simulator.lists import LIST_KINDS
from worker.simulator.lives import JOB_KINDS, Span, parse_job_failure, parse_span
from worker.simulator.options import Options
from worker.simulator.polls import STATUS_KINDS, parse_status_failure
from worker.simulator.questions import Question
from worker.simulator.results import RESULT_KINDS, RESULT_TYPES, parse_result_failure
from worker.simulator.server import LIMITED, Request, Simulator
from worker.simulator.upload_kinds import UPLOAD_KINDS, Step, Uploading, parse_upload_failures
from worker.simulator.uploads import Uploaded, UploadRequest

__all__ = [
    "JOB_KINDS",
    "KINDS",
    "LIMITED",
    "LIST_KINDS",
    "RESULT_KINDS",
    "RESULT_TYPES",
    "STATUS_KINDS",
    "UPLOAD_KINDS",
    "Change",
    "End",
    "Job",
    "Limit",
    "Options",
    "Question",
    "Request",
    "Simulator",
    "Span",
    "Step",
    "UploadRequest",
    "Uploaded",
    "Uploading",
    "parse_change",
    "parse_failure",
    "parse_job_failure",
    "parse_limit",
    "parse_result_failure",
    "parse_span",
    "parse_status_failure",
    "parse_upload_failures",
]
