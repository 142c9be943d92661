"""Law 16 taken out, part by part: only a whole upload is bought, and each once."""

from tests.proof.mutations import Mutation

RULES = "worker/core/upload.py"
STORE = "worker/store/uploads.py"
ADDRESSES = "worker/core/file_address.py"
UPLOADER = "worker/runner/uploader.py"
TURN = "worker/runner/transaction.py"
RUN = "tests/runner/test_uploader.py::"
CLAIM = "tests/runner/test_transaction.py::"
ROWS = "tests/store/test_uploads.py::"

UPLOADED = (
    Mutation(
        law="16: a file that is not uploaded is not claimed",
        file="worker/store/hosts.py",
        old="        held += uploads.hand_over(connection, found, now)\n",
        new="",
        tests=(f"{CLAIM}test_a_file_waits_for_its_upload_and_others_go_on",),
        quick=True,
    ),
    Mutation(
        law="16: an upload that was bought or refused is not sent again",
        file=STORE,
        old='(not row["spent"] and is_fresh(row["ready_at"], now))',
        new='is_fresh(row["ready_at"], now)',
        tests=(f"{ROWS}test_an_upload_is_bought_once",),
    ),
    Mutation(
        law="16: a file that a person hands in once more is uploaded anew",
        file="worker/store/changes.py",
        old="ready.values(ready_at=EPOCH, begun_at=None)",
        new="ready.values(begun_at=None)",
        tests=(f"{ROWS}test_a_file_that_a_person_hands_in_once_more_is_uploaded_anew",),
    ),
    Mutation(
        law="16: an upload is of one address",
        file=STORE,
        old='if row["address"] == meant[row["video_id"]]',
        new="if True",
        tests=(f"{ROWS}test_an_upload_is_of_one_address",),
    ),
    Mutation(
        law="16: a video in doubt is never uploaded anew",
        file=STORE,
        old='row["doubted"] or (not row["spent"] and is_fresh(row["ready_at"], now))',
        new='not row["spent"] and is_fresh(row["ready_at"], now)',
        tests=(f"{ROWS}test_a_video_in_doubt_is_never_uploaded_anew",),
    ),
    Mutation(
        law="16: nor where another attempt of it was refused",
        file=STORE,
        old='row["doubted"] or (not row["spent"] and is_fresh(row["ready_at"], now))',
        new='not row["spent"] and (row["doubted"] or is_fresh(row["ready_at"], now))',
        tests=(f"{ROWS}test_a_refusal_beside_a_doubt_uploads_nothing_anew",),
    ),
    Mutation(
        law="16: an old upload is begun anew",
        file=STORE,
        old='(not row["spent"] and is_fresh(row["ready_at"], now))',
        new='not row["spent"]',
        tests=(f"{ROWS}test_an_old_upload_is_begun_anew",),
    ),
    Mutation(
        law="16: an upload of a later time is begun anew",
        file=RULES,
        old="return -EARLY <= now - ready_at <= OLDEST",
        new="return now - ready_at <= OLDEST",
        tests=(f"{ROWS}test_an_upload_of_a_later_time_is_begun_anew",),
    ),
    Mutation(
        law="16: attempts say if an upload is spent, and no clock",
        file=STORE,
        old="is_later = history.c.attempt > uploads.c.claims",
        new="is_later = history.c.at >= uploads.c.ready_at",
        tests=(
            f"{ROWS}test_an_upload_is_bought_once",
            f"{ROWS}test_what_was_refused_before_an_upload_does_not_spend_it",
        ),
    ),
    Mutation(
        law="16: one address is of one upload",
        file=STORE,
        old="if connection.scalar(others.limit(1)) is not None:",
        new="if False:",
        tests=(f"{ROWS}test_an_address_is_of_one_upload",),
    ),
    Mutation(
        law="16: an address is nothing but an address",
        file=RULES,
        old="if ADDRESS.fullmatch(text) and",
        new='if text.startswith("valossaupload://") and',
        tests=("tests/core/test_upload.py::test_none_or_several_addresses_are_a_doubt",),
    ),
    Mutation(
        law="16: a file address with a control character names no file",
        file=ADDRESSES,
        old="_CONTROL.search(url)",
        new="_CONTROL.match(url)",
        tests=("tests/core/test_file_address.py::test_an_address_without_a_path_is_refused",),
    ),
    Mutation(
        law="14: a file address that is no text stops nobody",
        file=ADDRESSES,
        old="except UnicodeEncodeError:",
        new="except MemoryError:",
        tests=("tests/runner/test_loop.py::test_a_poisoned_file_stops_nobody",),
    ),
    Mutation(
        law="17: a file in another spelling finds its twin",
        file="worker/store/hosts.py",
        old="        if uploads.respell(connection, found, aside):\n            continue",
        new="        if False:\n            continue",
        tests=(f"{CLAIM}test_law_17_a_ready_upload_in_another_spelling_finds_its_twin",),
    ),
    Mutation(
        law="7: a file is of no host",
        file="worker/core/host.py",
        old="(?!file:|valossaupload:)",
        new="",
        tests=("tests/store/test_jobs.py::test_a_file_that_could_not_be_downloaded_is_of_no_host",),
    ),
    Mutation(
        law="16: what is wrong with a root fails no file",
        file="worker/files/roots.py",
        old="folder is not None and error.errno in _LASTING",
        new="error.errno in _LASTING",
        tests=("tests/files/test_roots.py::test_a_root_that_is_none_is_a_trouble_of_this_worker",),
    ),
    Mutation(
        law="16: an upload is taken under a lease",
        file=STORE,
        old="return or_(_goes_at.is_(None), ",
        new="return or_(uploads.c.state == text(\"'uploading'\"), ",
        tests=(f"{ROWS}test_two_workers_never_take_one_upload",),
    ),
    Mutation(
        law="16: who has lost the lease changes nothing",
        file=STORE,
        old='(uploads.c.state == "uploading", uploads.c.worker == worker)',
        new='(uploads.c.state == "uploading",)',
        tests=(f"{ROWS}test_two_workers_never_take_one_upload",),
    ),
    Mutation(
        law="16: finalize is never asked for twice",
        file=RULES,
        old="is_young and upload.acknowledged < upload.chunks",
        new="is_young",
        tests=(f"{RUN}test_an_upload_is_resumed_only_where_all_fits",),
    ),
    Mutation(
        law="16: a finalize in doubt is begun anew",
        file=RULES,
        old="if not (is_whole or is_its_own or tries >= most):",
        new="if not (is_its_own or tries >= most):",
        tests=("tests/core/test_upload.py::test_finalize_is_never_asked_for_again",),
    ),
    Mutation(
        law="16: that finalize is asked for is on disk before",
        file=UPLOADER,
        old="        if not await self._keep(upload):\n            return None\n"
        "        answer = await self._meanwhile(self.api.finalize(",
        new="        answer = await self._meanwhile(self.api.finalize(",
        tests=(f"{RUN}test_that_finalize_is_asked_for_is_on_disk_before",),
    ),
    Mutation(
        law="16: the id is on disk before the first chunk",
        file=UPLOADER,
        old="        return begun if await self._keep(begun) else None",
        new="        return begun",
        tests=(f"{RUN}test_the_id_is_on_disk_before_the_first_chunk",),
    ),
    Mutation(
        law="16: a changed file is seen at each chunk",
        file=UPLOADER,
        old="            if found != upload.identity or read < size:",
        new="            if read < size:",
        tests=(f"{RUN}test_a_file_that_is_being_written_fails",),
        quick=True,
    ),
    Mutation(
        law="16: a changed file is seen before finalize",
        file=UPLOADER,
        old="        if found != upload.identity:\n            return self._changed(upload)\n"
        "        if not await self._keep",
        new="        if not await self._keep",
        tests=(f"{RUN}test_a_file_that_changes_under_its_last_chunk_is_uploaded_anew",),
    ),
    Mutation(
        law="16: the last acknowledged chunk is read again",
        file=UPLOADER,
        old=" and await self._hashed(known) == upload:",
        new=":",
        tests=(f"{RUN}test_an_upload_is_resumed_only_where_all_fits",),
    ),
    Mutation(
        law="16: none or several addresses are none",
        file=RULES,
        old="    if len(found) == 1:\n",
        new="    if found:\n",
        tests=("tests/core/test_upload.py::test_none_or_several_addresses_are_a_doubt",),
    ),
    Mutation(
        law="16: no link leads out of the folders",
        file="worker/files/roots.py",
        old="_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW",
        new="_FOLDER = os.O_RDONLY | os.O_DIRECTORY",
        tests=("tests/files/test_roots.py::test_what_is_no_file_of_the_root_is_refused",),
    ),
    Mutation(
        law="16: a second name of a file is refused",
        file="worker/files/roots.py",
        old="    if found.st_nlink > 1:",
        new="    if False:",
        tests=("tests/files/test_roots.py::test_what_is_no_file_of_the_root_is_refused",),
    ),
    Mutation(
        law="3: a list is searched for the address that was sent",
        file="worker/store/doubts.py",
        old='url=sent_as(connection, row["id"], row["url"]),',
        new='url=row["url"],',
        tests=(f"{ROWS}test_a_doubt_and_an_audit_look_for_what_was_sent",),
    ),
)
"""Law 16, and what it needs of others."""
