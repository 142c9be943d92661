"""Take out, one at a time, the words to PostgreSQL by which the laws hold there."""

from tests.proof.mutations import EXPIRY, LEDGER, QUEUE, Mutation

ENGINE = "worker/db/postgres.py"
LAWS = "tests/test_postgres_laws.py"
SERVER = "tests/db/test_postgres.py"

SERVED = (
    Mutation(
        law="6: a connection made anew is like the one before",
        file=ENGINE,
        old="                if isinstance(problem, DatabaseProblem):\n"
        "                    await self._drop(role)\n",
        new="",
        tests=(f"{SERVER}::test_a_connection_made_anew_reads_one_state_as_before",),
    ),
    Mutation(
        law="10: everybody goes by the server's time, whatever becomes of his own",
        file=ENGINE,
        old="        self._ahead = now - self._here()\n",
        new="",
        tests=(f"{SERVER}::test_a_machine_whose_clock_is_set_is_back_with_its_next_transaction",),
    ),
    Mutation(
        law="10: a run goes by the time of its queue",
        file="worker/wiring.py",
        old="(settings, worker, database.now, probe_after)",
        new="(settings, worker, CLOCK.now, probe_after)",
        tests=("tests/test_wiring.py::test_a_run_goes_by_the_time_of_its_queue",),
    ),
    Mutation(
        law="10: a start that was slept through is somebody else's",
        file="worker/runner/attempts.py",
        old="if began > start.at + MISSED_SECONDS:",
        new="if False:",
        tests=("tests/runner/test_attempts.py::test_a_start_that_is_long_past_is_given_back",),
    ),
    Mutation(
        law="1: a session that is given away between transactions is none",
        file=ENGINE,
        old="                await self._must_keep_sessions(connection)\n",
        new="",
        tests=(f"{SERVER}::test_a_pooler_that_gives_a_session_to_a_transaction_is_refused",),
    ),
    Mutation(
        law="1: a commit is on the server's disk",
        file=ENGINE,
        old='"synchronous_commit": "on"',
        new='"synchronous_commit": "off"',
        tests=(f"{LAWS}::test_commits_are_on_disk_whatever_the_default_is",),
    ),
    Mutation(
        law="1: what a crash took back was never committed",
        file=ENGINE,
        old="return found == self._number",
        new="return found is not None",
        tests=(
            f"{LAWS}::test_a_commit_that_a_crash_took_back_is_not_taken_for_done",
            "tests/db/test_postgres.py::test_a_commit_that_never_arrived_is_known",
        ),
    ),
    Mutation(
        law="10: write transactions of a server come one after the other",
        file=ENGINE,
        old="SELECT pg_advisory_xact_lock({LOCK_KEY}), clock",
        new="SELECT 0, clock",
        tests=(f"{LAWS}::test_workers_that_look_at_once_share_one_pace",),
        quick=True,
    ),
    Mutation(
        law="10: workers on the same tables share one lock, whatever their search paths",
        file="worker/db/address.py",
        old="hashtext({QUEUE_SCHEMA})",
        new="hashtext(current_schema())",
        tests=(f"{SERVER}::test_workers_on_the_same_tables_share_one_lock",),
    ),
    Mutation(
        law="6: a commit whose answer was lost is known",
        file=ENGINE,
        old="return found == self._number",
        new="return False",
        tests=("tests/db/test_postgres.py::test_a_commit_whose_answer_was_lost_is_known",),
    ),
    Mutation(
        law="7: a row that another program changes holds no claim up",
        file=QUEUE,
        old=".with_for_update(skip_locked=True)",
        new=".with_for_update()",
        tests=(f"{LAWS}::test_a_row_that_another_program_changes_holds_no_claim_up",),
    ),
    Mutation(
        law="7: a lapsed row that another program holds stops nobody",
        file=EXPIRY,
        old="_gone.with_for_update(skip_locked=True)",
        new="_gone",
        tests=(f"{LAWS}::test_a_lapsed_row_that_another_program_holds_holds_nobody_up",),
    ),
    Mutation(
        law="14: a result whose row another program holds delays no other",
        file=LEDGER,
        old="passing=self.troubled.is_set()",
        new="passing=False",
        tests=("tests/runner/test_writer.py::test_a_result_whose_row_is_held_delays_no_other",),
    ),
    Mutation(
        law="7: a row that another program holds is not waited for without an end",
        file=ENGINE,
        old="set_config('lock_timeout', '5s', true)",
        new="set_config('lock_timeout', '0', true)",
        tests=(
            "tests/db/test_postgres.py::test_a_row_that_somebody_holds_is_not_waited_for_without_end",
        ),
    ),
    Mutation(
        law="7: a frozen worker gives the lock back",
        file=ENGINE,
        old="set_config('idle_in_transaction_session_timeout', '10s', true)",
        new="set_config('idle_in_transaction_session_timeout', '0', true)",
        tests=(f"{LAWS}::test_a_frozen_worker_gives_the_lock_back",),
    ),
    Mutation(
        law="10: a server's time is read when nobody else can write any more",
        file=ENGINE,
        old="clock_timestamp() AS now",
        new="now()",
        tests=("tests/db/test_postgres.py::test_the_time_is_read_after_the_lock_is_held",),
    ),
)
