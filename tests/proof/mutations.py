"""One law taken out at a time: what to change in the code, and which test has to notice.

Where the code has moved on, the text is found no more, and that is a failure of its own.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """``old``, which stands once in ``file``, becomes ``new``; each of ``tests`` must go red.
    ``quick``: it is tried in every run.
    """

    law: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    quick: bool = False


SETTLE = "worker/store/settle.py"
QUEUE = "worker/store/queue.py"
EXPIRY = "worker/store/leases.py"
DECIDE = "worker/core/decide.py"
DOUBTS = "worker/store/doubts.py"
BREAKER = "worker/core/breaker.py"
TURN = "worker/runner/transaction.py"
LEDGER = "worker/runner/writer.py"
FLEET = "worker/store/workers.py"
MOVING = "worker/store/relocation.py"
MOVE = "worker/relocate.py"
API = "worker/api/client.py"
WIRE = "worker/api/transport.py"

LAWS = (
    Mutation(
        law="1: the intent is committed before its request",
        file="worker/db/sqlite.py",
        old='execute(connection, "COMMIT")',
        new='execute(connection, "ROLLBACK" if hasattr(result, "claimed") else "COMMIT")',
        tests=("tests/runner/test_loop.py::test_the_intent_is_on_disk_before_the_request",),
    ),
    Mutation(
        law="1: a commit is on disk",
        file="worker/db/sqlite.py",
        old='"PRAGMA synchronous=FULL"',
        new='"PRAGMA synchronous=NORMAL"',
        tests=("tests/db/test_database.py::test_commits_are_on_disk_on_both_connections",),
    ),
    Mutation(
        law="1: a file with two names, and so two logs, is not worked on",
        file="worker/opening.py",
        old="    _must_be_safe(settings.database_url)\n    async with readable",
        new="    async with readable",
        tests=("tests/test_opening.py::test_a_file_with_two_names_is_only_looked_at",),
    ),
    Mutation(
        law="1: nothing is claimed in a log that nobody sees",
        file="worker/db/sqlite.py",
        old="        if lost:\n",
        new="        if False:\n",
        tests=("tests/db/test_database.py::test_a_log_that_is_deleted_in_use_is_told_and_saved",),
    ),
    Mutation(
        law="2: no redirect is followed",
        file=WIRE,
        old="        connection.release()",
        new="        connection.release()\n"
        "        if 300 <= exchange.head.code < 400:\n"
        "            await self._carry(request, exchange)",
        tests=("tests/api/test_client.py::test_a_kind_of_trouble_has_its_outcome",),
    ),
    Mutation(
        law="2: a connection that dies under a request is no reason to send it again",
        file=WIRE,
        old="            await _receive(protocol, exchange)\n",
        new="            await _receive(protocol, exchange)\n"
        "        except (aiohttp.ClientError, OSError):\n"
        "            await self._carry(request, exchange)\n",
        tests=("tests/api/test_client.py::test_a_post_is_not_sent_again_on_a_new_connection",),
    ),
    Mutation(
        law="2: an answer on a kept connection is that to its request",
        file=WIRE,
        old="return protocol.should_close or bool(poller.poll(0))",
        new="return protocol.should_close",
        tests=(
            "tests/api/test_client.py::test_an_answer_that_nobody_asked_for_is_nobodys",
            "tests/api/test_client.py::test_half_an_answer_that_nobody_asked_for_is_nobodys",
        ),
    ),
    Mutation(
        law="3: from the first byte on it was perhaps sent",
        file=WIRE,
        old="    exchange.sent = True\n",
        new="",
        tests=("tests/api/test_client.py::test_what_nobody_can_know_is_a_doubt",),
    ),
    Mutation(
        law="3: what an attempt left behind does not arrive after its end",
        file=WIRE,
        old="        connection.transport.abort()",
        new="        pass",
        tests=("tests/api/test_client.py::test_a_body_that_waits_behind_tls_is_never_delivered",),
    ),
    Mutation(
        law="3: what was perhaps sent is not sent again",
        file="worker/core/classify.py",
        old='return InDoubt(f"sent, but no answer was read: {error}")',
        new='return NotSent(f"sent, but no answer was read: {error}")',
        tests=("tests/core/test_classify.py::test_a_lost_exchange_is_in_doubt_once_sent",),
    ),
    Mutation(
        law="3: an error that nobody documented tells nothing",
        file="worker/core/classify.py",
        old="(answer.status in {500, 503} and documented) or told_when",
        new="answer.status >= 500",
        tests=("tests/core/test_classify.py::test_an_undocumented_server_error_is_in_doubt",),
    ),
    Mutation(
        law="3: a 500 is looked up before the next send",
        file=QUEUE,
        old='videos.c.updated_at <= bindparam("checked_until")',
        new="videos.c.updated_at <= videos.c.updated_at",
        tests=(
            "tests/runner/test_transaction.py::test_what_a_500_turned_away_is_not_claimed_before_a_list_was_read",
        ),
    ),
    Mutation(
        law="4: a lease that ran out is a doubt",
        file=EXPIRY,
        old="state=case((videos.c.job_id.is_(None), State.IN_DOUBT)",
        new="state=case((videos.c.job_id.is_(None), State.PENDING)",
        tests=("tests/store/test_queue.py::test_a_lease_that_ran_out_is_a_doubt",),
    ),
    Mutation(
        law="4: nothing is sent on an old claim",
        file="worker/runner/attempts.py",
        old="if left >= self.transaction.settings.timeout_seconds + 5:",
        new="if left >= 0:",
        tests=(
            "tests/runner/test_attempts.py::test_a_claim_is_sent_while_enough_of_its_lease_is_left",
        ),
    ),
    Mutation(
        law="4: the last check withholds the first byte",
        file=WIRE,
        old="raise WithheldError(reason)",
        new="pass",
        tests=("tests/api/test_client.py::test_a_withheld_request_leaves_nothing_on_the_wire",),
    ),
    Mutation(
        law="4: a lease is counted from before its claim",
        file=TURN,
        old="lease_ends=at.began + lease)",
        new="lease_ends=self.clock.monotonic() + lease)",
        tests=(
            "tests/runner/test_transaction.py::test_law_4_a_lease_is_counted_from_before_its_claim",
        ),
    ),
    Mutation(
        law="5: a doubt outlives a later clean answer",
        file=DECIDE,
        old="if not status.in_doubt:",
        new="if True:",
        tests=("tests/core/test_decide.py::test_law_5_no_clean_ending_closes_an_earlier_doubt",),
    ),
    Mutation(
        law="5: every attempt's doubt is known",
        file=SETTLE,
        old="in_doubt=bool(doubts - {result.claim.attempt})",
        new="in_doubt=False",
        tests=("tests/store/test_settle.py::test_a_clear_answer_leaves_an_earlier_doubt",),
    ),
    Mutation(
        law="6: a settle needs its claim",
        file=SETTLE,
        old="holds=token == result.claim.token",
        new="holds=state is not None",
        tests=("tests/store/test_settle.py::test_a_lost_claim_changes_nothing",),
        quick=True,
    ),
    Mutation(
        law="6: a late job id is written down",
        file=SETTLE,
        old="        _adopt(connection, settlement, now)",
        new="        pass",
        tests=("tests/store/test_settle.py::test_a_late_job_is_always_written_down",),
    ),
    Mutation(
        law="6: expiry keeps the token",
        file=EXPIRY,
        old="            attempts=videos.c.attempts + 1,\n            http_status=None,",
        new="            attempts=videos.c.attempts + 1,\n            claim_token=None,",
        tests=("tests/store/test_settle.py::test_a_late_answer_settles_its_own_doubt",),
    ),
    Mutation(
        law="6: a verdict is about the last attempt",
        file=DOUBTS,
        old=".where(videos.c.id == doubt.video_id, videos.c.claims == doubt.attempt)\n"
        "        .where(or_(",
        new=".where(videos.c.id == doubt.video_id)\n        .where(or_(",
        tests=("tests/store/test_doubts.py::test_a_verdict_that_comes_too_late_is_dropped",),
    ),
    Mutation(
        law="7: what is not the video's fault is not counted",
        file=DECIDE,
        old="Transition.postpone(outcome.message, now + policy.wait(1, dice))",
        new="Transition.retry(outcome.message, now + policy.wait(1, dice))",
        tests=("tests/core/test_decide.py::test_law_7_not_the_videos_fault_is_not_its_attempt",),
    ),
    Mutation(
        law="8: one stray refusal does not stop the run",
        file=BREAKER,
        old="if suspicion is None or began < suspicion.seen_at:\n        return False",
        new="if suspicion is None or began < suspicion.seen_at:\n        return True",
        tests=("tests/core/test_breaker.py::test_law_8_one_stray_refusal_does_not_stop",),
    ),
    Mutation(
        law="8: a refused account stops the run",
        file=BREAKER,
        old="return another or breaker.blanks >= CROWD",
        new="return False",
        tests=("tests/core/test_breaker.py::test_law_8_a_second_videos_refusal_stops",),
    ),
    Mutation(
        law="9: an intent in a file that is gone is none",
        file="worker/db/sqlite.py",
        old="if self._file not in {None, _file_at(self.path)}:",
        new="if self._file in {()}:",
        tests=("tests/db/test_database.py::test_a_file_that_goes_away_in_use_is_told",),
    ),
    Mutation(
        law="10: starts are reserved for everybody",
        file=TURN,
        old="shared_state.reserve(at.connection, planned.first + count * planned.spacing, at.now)",
        new="pass",
        tests=("tests/runner/test_transaction.py::test_two_processes_share_one_spacing",),
    ),
    Mutation(
        law="11: the key is blanked in what the API says",
        file=API,
        old="message=presentable(outcome.message, self._key)",
        new="message=clean(outcome.message)",
        tests=("tests/api/test_client.py::test_the_key_is_in_no_outcome",),
    ),
    Mutation(
        law="11: the name in a callback that was made is not kept",
        file="worker/runner/attempts.py",
        old='        message = message.replace(made.rpartition("/")[2], "…")  # signed\n',
        new="        pass\n",
        tests=("tests/runner/test_attempts.py::test_the_token_of_a_made_callback_is_not_kept",),
    ),
    Mutation(
        law="12: only what can be sent now is claimed",
        file=TURN,
        old="min(free_slots, planned.room, free_slots",
        new="min(free_slots, free_slots",
        tests=("tests/runner/test_transaction.py::test_starts_are_at_most_100_ms_ahead",),
    ),
    Mutation(
        law="13: a crowd of doubts makes everybody wait",
        file=BREAKER,
        old="return self.blanks >= CROWD or self.stop is not None",
        new="return self.stop is not None",
        tests=(
            "tests/core/test_breaker.py::test_law_13_eight_unclear_endings_make_everybody_wait",
        ),
    ),
    Mutation(
        law="6: an ending that was put down is waited for",
        file=LEDGER,
        old="        self._written.clear()\n",
        new="",
        tests=("tests/runner/test_writer.py::test_all_that_was_put_down_is_waited_for",),
    ),
    Mutation(
        law="6: all endings that were put down are waited for",
        file=LEDGER,
        old="        if not self.unwritten:\n",
        new="        if True:\n",
        tests=("tests/runner/test_writer.py::test_all_that_was_put_down_is_waited_for",),
    ),
    Mutation(
        law="what is in flight is told of, whoever holds it",
        file=FLEET,
        old="ids = known | claims",
        new="ids = known",
        tests=("tests/store/test_workers.py::test_claims_of_nobody_are_shown",),
    ),
    Mutation(
        law="a worker that holds videos is not forgotten",
        file=FLEET,
        old=".where(~lately, ~holds)",
        new=".where(~lately)",
        tests=("tests/store/test_workers.py::test_who_has_something_in_flight_is_not_forgotten",),
    ),
    Mutation(
        law="a sign of life that cannot be written is told of",
        file="worker/runner/heartbeat.py",
        old="            self.reporter.database(problem)\n",
        new="            pass\n",
        tests=(
            "tests/runner/test_heartbeat.py::test_a_database_in_trouble_is_told_of_once_and_tried_again",
        ),
    ),
    Mutation(
        law="an orderly end is no death",
        file="worker/runner/loop.py",
        old="                    self._heartbeat.leave()\n",
        new="                    pass\n",
        tests=("tests/runner/test_heartbeat.py::test_a_run_is_seen_while_it_lasts",),
    ),
    Mutation(
        law="moved: nothing is claimed where the queue is no more",
        file=TURN,
        old="""            return ClaimResult(reason=WaitReason.MOVED, detail=at.shared.moved_to)
        self._repeat_doubts""",
        new="""            pass
        self._repeat_doubts""",
        tests=("tests/runner/test_transaction.py::test_a_mark_between_look_and_claim_is_seen",),
        quick=True,
    ),
    Mutation(
        law="moved: a run ends where the queue is no more",
        file=TURN,
        old="""            return None
        if shared.moved_to is not None:
            return ClaimResult(reason=WaitReason.MOVED, detail=shared.moved_to)
        if shared.paused_at""",
        new="""            return None
        if shared.paused_at""",
        tests=("tests/runner/test_loop.py::test_an_idle_daemon_sees_that_its_queue_moves",),
    ),
    Mutation(
        law="moved: a daemon ends as well",
        file="worker/core/stop_conditions.py",
        old="    if result.reason is WaitReason.MOVED:\n",
        new="    if result.reason is WaitReason.MOVED and options.drain and not run.busy:\n",
        tests=("tests/core/test_stop_conditions.py::test_a_queue_that_has_moved_ends_a_busy_run",),
    ),
    Mutation(
        law="moved: no verdict is written where the queue is no more",
        file="worker/runner/verdicts.py",
        old="        if shared.moved_to is not None:\n            return []\n",
        new="",
        tests=("tests/runner/test_verdicts.py::test_nothing_is_judged_in_a_queue_that_has_moved",),
    ),
    Mutation(
        law="moved: nobody changes a queue that is no more",
        file="worker/opening.py",
        old="        await database.read(lambda c: _must_be_here(c, database))\n",
        new="",
        tests=("tests/cli/test_move.py::test_a_check_says_that_the_queue_has_moved",),
    ),
    Mutation(
        law="moved: nor in the moment after it was opened",
        file="worker/opening.py",
        old="        _must_be_here(connection, database)\n        return work(",
        new="        return work(",
        tests=("tests/test_opening.py::test_a_change_sees_a_mark_that_came_after_the_opening",),
    ),
    Mutation(
        law="moved: plain SQL does not vanish",
        file=MOVING,
        old="    for statement in _GUARDS[connection.dialect.name]:\n",
        new="    for statement in ():\n",
        tests=(
            "tests/store/test_relocation.py::test_plain_sql_does_not_vanish_in_a_marked_queue",
            "tests/store/test_relocation.py::test_a_half_copy_takes_rows_of_the_move_alone",
        ),
    ),
    Mutation(
        law="moved: a late job is still written down",
        file=MOVING,
        old=" AND OLD.job_id IS NEW.job_id\n",
        new="\n",
        tests=(
            "tests/store/test_relocation.py::test_a_late_job_is_written_down_in_a_marked_queue",
        ),
    ),
    Mutation(
        law="moved: what is in flight is waited for",
        file=MOVE,
        old="        await self._nothing_in_flight()\n",
        new="",
        tests=("tests/test_relocate.py::test_what_is_in_flight_is_waited_for",),
    ),
    Mutation(
        law="moved: a half copy is not opened",
        file=MOVE,
        old="        if found != wanted:\n",
        new="        if False:\n",
        tests=("tests/test_relocate.py::test_a_copy_that_is_not_the_same_is_not_opened",),
    ),
    Mutation(
        law="moved: the target is closed before the source is",
        file=MOVE,
        old="""        relocation.mark(target, copy_of(self.source_name))
""",
        new="",
        tests=("tests/test_relocate.py::test_nothing_is_copied_before_nothing_is_in_flight",),
    ),
    Mutation(
        law="moved: the source says where to before the target is opened",
        file=MOVE,
        old="""        await self.source.write(self._end_source, "to end a move")
        await self.target.write(self._open_target, "to end a move")
""",
        new="""        await self.target.write(self._open_target, "to end a move")
        await self.source.write(self._end_source, "to end a move")
""",
        tests=("tests/test_relocate.py::test_a_move_that_is_cut_off_anywhere_goes_on",),
    ),
    Mutation(
        law="moved: a mark that was taken out meanwhile ends the move",
        file=MOVE,
        old="            raise _interfered(self.source_name)\n",
        new="            pass\n",
        tests=(
            "tests/test_relocate.py::test_a_mark_that_somebody_takes_out_meanwhile_ends_the_move",
        ),
    ),
    Mutation(
        law="moved: two moves at once copy nothing twice",
        file=MOVE,
        old="        if relocation.highest(target, table) != after:\n            return 0\n",
        new="",
        tests=("tests/test_relocate.py::test_rows_that_another_move_has_copied_are_not_copied",),
    ),
    Mutation(
        law="moved: a number does not come back",
        file=MOVING,
        old="max(last, *(highest(connection, table) for table in (videos, pruned, jobs, uploads)))",
        new="highest(connection, videos)",
        tests=("tests/test_relocate.py::test_new_videos_get_new_numbers",),
    ),
    Mutation(
        law="moved: an older half copy is not gone on with",
        file="worker/core/relocation.py",
        old="self.target_empty or (self.source_mark and self.target_mark)",
        new="self.target_empty or self.target_mark",
        tests=("tests/core/test_relocation.py::test_a_move_that_would_mix_two_queues_is_refused",),
    ),
    Mutation(
        law="17: an address that another video has bought, or may have, is not sent",
        file="worker/runner/transaction.py",
        old="twin = claim.twin if claim.may_buy_twice else claim.twin or going.get(url)",
        new="twin = None if claim.may_buy_twice else going.get(url)",
        tests=(
            "tests/runner/test_loop.py::test_law_17_what_is_inserted_again_is_not_bought_again",
        ),
    ),
    Mutation(
        law="17: of two rows with one address in one claim, the first goes",
        file="worker/runner/transaction.py",
        old="twin = claim.twin if claim.may_buy_twice else claim.twin or going.get(url)",
        new="twin = claim.twin",
        tests=("tests/runner/test_transaction.py::test_law_17_one_address_goes_once_in_one_claim",),
    ),
    Mutation(
        law="17: an address that was pruned is not sent",
        file=QUEUE,
        old="func.coalesce(_first_twin, _pruned_twin)",
        new="_first_twin",
        tests=("tests/store/test_pruning.py::test_law_17_no_claim_buys_a_pruned_address",),
    ),
    Mutation(
        law="17: an address that was pruned is not imported",
        file="worker/store/holders.py",
        old="known(connection, pruned.c[column], values)",
        new="[]",
        tests=("tests/store/test_pruning.py::test_law_17_no_import_takes_a_pruned_video_again",),
    ),
    Mutation(
        law="5: a doubt is not pruned",
        file="worker/store/pruning.py",
        old="        _has_no(history.c.id, IS_OPEN_DOUBT),\n",
        new="",
        tests=("tests/store/test_pruning.py::test_law_5_an_open_doubt_is_never_pruned",),
    ),
    Mutation(
        law="14: one bad value stops nobody",
        file=LEDGER,
        old="            await self._one_by_one(ready)",
        new="            self._news.set()\n"
        "            [self._refuse(each, ValueError()) for each in ready]",
        tests=("tests/runner/test_writer.py::test_one_bad_value_stops_nobody",),
    ),
    Mutation(
        law="14: a name that is no text stops nobody",
        file=QUEUE,
        old="request_id=readable(request_id)",
        new="request_id=request_id",
        tests=("tests/runner/test_loop.py::test_a_poisoned_row_stops_nobody",),
    ),
    Mutation(
        law="14: a row that cannot be deleted stops nobody",
        file="worker/runner/pruner.py",
        old="            if len(ids) > 1:\n",
        new="            if False:\n",
        tests=(
            "tests/runner/test_pruner.py::test_law_14_a_row_that_cannot_be_deleted_stops_no_other",
        ),
    ),
    Mutation(
        law="caps: what is under way is reserved",
        file="worker/store/caps.py",
        old="return self.settled + self.submitting",
        new="return self.settled",
        tests=("tests/runner/test_transaction.py::test_reserved_room_is_waited_for",),
    ),
    Mutation(
        law="caps: a doubt counts",
        file="worker/store/caps.py",
        old="settled[0] + settled[1] + settled[2]",
        new="settled[0] + settled[2]",
        tests=(
            "tests/store/test_caps.py::test_a_dead_workers_attempt_counts",
            "tests/runner/test_loop.py::test_a_cap_ends_a_drain",
        ),
    ),
    Mutation(
        law="caps: no more is claimed than is left",
        file=TURN,
        old="free_slots if level is None else level.room",
        new="free_slots",
        tests=("tests/runner/test_transaction.py::test_no_more_is_claimed_than_a_cap_leaves",),
    ),
    Mutation(
        law="caps: what is bought in a clock's future counts",
        file="worker/store/caps.py",
        old="(history.c.at > now - cap.window,)",
        new="(history.c.at.between(now - cap.window, now),)",
        tests=(
            "tests/store/test_caps.py::test_a_clock_that_stepped_back_opens_no_cap",
            "tests/runner/test_transaction.py::test_a_clock_that_steps_back_opens_no_cap",
        ),
    ),
    Mutation(
        law="caps: a drain ends only when nothing is submitting",
        file="worker/core/stop_conditions.py",
        old="waits = result.submitting or (",
        new="waits = (",
        tests=(
            "tests/core/test_stop_conditions.py::test_claims_that_may_free_room_are_waited_for",
            "tests/runner/test_loop.py::test_what_another_process_claimed_is_waited_for",
        ),
    ),
)
