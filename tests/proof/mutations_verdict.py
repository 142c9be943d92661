"""Law 18 taken out: what a verdict may not keep silent about."""

from tests.proof.mutations import Mutation

CORE = "worker/core/verdict.py"
SNAPSHOT = "worker/snapshot.py"
JUDGED = "tests/core/test_verdict.py::test_a_queue_is_judged"
NEEDS = "tests/core/test_verdict.py::test_what_needs_a_person_is_said"
CALM = "tests/core/test_verdict.py::test_no_verdict_is_calm_while_something_due_does_not_move"
MISSED = "tests/test_snapshot.py::test_a_worker_that_should_be_alive_is_missed"

VERDICT = (
    Mutation(
        law="18: what is due and does not move is stalled",
        file=CORE,
        old="return self.now - self.still_since > self.patience",
        new="return False",
        tests=(JUDGED, "tests/processes/test_drill.py::test_all_rows_are_held_by_another_session"),
    ),
    Mutation(
        law="18: a queue without a worker does not work",
        file=CORE,
        old="    if facts.alive:\n",
        new="    if facts.due:\n",
        tests=(JUDGED, CALM),
    ),
    Mutation(
        law="18: a wait is over when its end has come",
        file=CORE,
        old="held is None or (held.until is not None and held.until <= facts.now)",
        new="held is None",
        tests=("tests/core/test_verdict.py::test_a_wait_whose_end_has_come_is_no_wait",),
    ),
    Mutation(
        law="18: a refused key comes before a stall",
        file=CORE,
        old="first = facts.refusal or (",
        new="first = (",
        tests=(NEEDS,),
    ),
    Mutation(
        law="18: an answer that is not clear moves nothing",
        file="worker/store/statistics.py",
        old='None if heard and heard["fact"] in UNCLEAR else ',
        new="",
        tests=("tests/test_snapshot.py::test_a_claim_after_an_unclear_answer_is_no_move",),
    ),
    Mutation(
        law="18: our own cool-downs for an API that never answers are no calm",
        file=CORE,
        old="return min(since, self.unanswered_since or since)",
        new="return since",
        tests=("tests/test_snapshot.py::test_an_api_that_never_answers_is_a_stall",),
    ),
    Mutation(
        law="18: an answer that never came ends no refusal",
        file="worker/store/statistics.py",
        old="heard = _last(connection, _CLEARED)",
        new="heard = _last(connection, _ANSWERED)",
        tests=("tests/test_snapshot.py::test_an_answer_that_never_came_ends_no_refusal",),
    ),
    Mutation(
        law="18: a daemon that another has followed is not missed",
        file=SNAPSHOT,
        old="any(at > seen_at for at in begun) or ",
        new="",
        tests=(MISSED,),
    ),
    Mutation(
        law="18: a drain that was killed is not silent",
        file=SNAPSHOT,
        old=" and _trouble(member) is not GONE",
        new="",
        tests=("tests/test_snapshot.py::test_a_drain_that_hangs_with_claims_is_missed",),
    ),
    Mutation(
        law="18: a lease that has run out hides no pause",
        file=SNAPSHOT,
        old="if found is None and known.paused_at is not None:",
        new="if False:",
        tests=("tests/test_snapshot.py::test_a_pause_is_named_though_a_lease_has_run_out",),
    ),
    Mutation(
        law="4: a person's reconciliation ends the leases that have run out",
        file="worker/cli/commands/reconcile.py",
        old="            session.run(reconciler.expire())\n",
        new="            pass\n",
        tests=("tests/cli/test_reconcile.py::test_what_a_dead_worker_had_in_flight_is_reconciled",),
    ),
    Mutation(
        law="4: a resolve ends the lease of its own video alone",
        file="worker/cli/commands/resolve.py",
        old="person(), lapsed - {number})",
        new="person())",
        tests=("tests/cli/test_change.py::test_what_a_dead_worker_had_in_flight_is_resolved",),
    ),
)
