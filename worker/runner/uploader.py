"""Upload local files in slots of their own, so that their videos can be sent. Knows no SQL.

What the API may have is on disk before it is asked for more: the row before initialize, the id
before the first chunk, the last chunk before finalize. What is in doubt is begun anew (law 16).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from worker.api.uploads import UploadApi
from worker.clock import sleep_or_event
from worker.core import upload as rules
from worker.core.file_address import AddressError, path_of
from worker.core.model import AccountRefused, Outcome, Throttled, TryLater, WrongAddress
from worker.core.reasons import Stop, StopReason
from worker.core.upload import Finished, Identity, Opened, Setback, Taken, Upload
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, Database, refusal
from worker.files import roots
from worker.files.roots import AbsentError, RefusedError
from worker.log import Event
from worker.runner.reconciler import Reconciler
from worker.runner.writer import TRY_AGAIN_SECONDS
from worker.store import uploads

T = TypeVar("T")

LOOK_SECONDS = 5.0
"""Between looks for files that others handed over."""

ABSENT_SECONDS, LONGEST_ABSENT_SECONDS = 60.0, 3_600.0
"""Until a file that is not here is looked for again, at first and at last; doubles each time."""

NO_ROOM = memoryview(b"")

KEEP_SECONDS = 2.0
"""Between two writes of how far an upload has come, each of which prolongs its lease."""

_REASONS = {AccountRefused: StopReason.ACCOUNT, WrongAddress: StopReason.ADDRESS}


@dataclass(kw_only=True, eq=False)
class Uploader:
    """The uploads of one run, beside its reconciler, whose ``news`` is called after each.
    ``called`` makes it look at once.
    """

    api: UploadApi
    database: Database
    beside: Reconciler
    called: asyncio.Event = field(default_factory=asyncio.Event)
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: deque[tuple[int, str]] = field(default_factory=deque)
    _look_at: float = 0.0
    _keep_at: dict[int, float] = field(default_factory=dict)
    _absent: dict[int, tuple[float, float]] = field(default_factory=dict)
    _why_absent: dict[int, str] = field(default_factory=dict)
    _left: set[int] = field(default_factory=set)
    _lost: Stop | None = None
    _is_held: bool = False
    _troubles: int = 0
    _quiet_until: float = 0.0

    def __post_init__(self) -> None:
        self.transaction, self.limiter = self.beside.transaction, self.beside.limiter
        self.write, self.state = self.beside.write, self.beside.state
        self._reach, self._clock = self.transaction.reach, self.transaction.clock

    async def run(self) -> None:
        """Upload whatever this worker can, until the limiter is shut."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.transaction.settings.uploads):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while not self.limiter.is_shut:
            try:
                async with self._line:
                    upload = await self._next()
                if upload is not None:
                    await self._carry(upload)
            except (DatabaseProblem, *BAD_VALUE) as error:  # the heartbeat tells of the first
                now, is_lost = self._clock.monotonic(), isinstance(error, DatabaseProblem)
                why = str(error) if is_lost else refusal(error)
                trouble = Stop(reason=StopReason.DATABASE, message=why)
                self._lost = trouble if is_lost else None
                self.state.note_uploads(trouble, now)
                await self.limiter.wait_until(now + TRY_AGAIN_SECONDS)

    async def _next(self) -> Upload | None:
        """Take the next upload; None after a while without one."""
        for video_id in [*self._left]:
            await self._give_back(video_id, Setback())
            self._left.discard(video_id)
            self.state.note_uploads(None, self._clock.monotonic())
        now = self._clock.monotonic()
        if now < self._quiet_until:
            await self.limiter.wait_until(min(self._quiet_until, now + LOOK_SECONDS))
            return None
        if now >= self._look_at:
            self._found.clear()
        while self._found or await self._look():
            video_id, address = self._found.popleft()
            if await self._is_here(video_id, address):
                await self._note_absent()
                taken = await self.write(partial(self._take, video_id), "to take an upload")
                if taken is not None:
                    return taken
        if (noted := self.state.upload_trouble) and noted[0] is self._lost:
            self.state.note_uploads(None, now)  # it has answered, and nothing is left to write
        self.called.clear()
        await sleep_or_event(self.called, LOOK_SECONDS)
        return None

    async def _look(self) -> bool:
        """Find the next uploads, and return True if there are any."""
        await self._note_absent()
        now, absent = self._clock.monotonic(), self._reach.absent
        for video_id, (until, _) in [*self._absent.items()]:
            if until <= now:
                absent.discard(video_id)
            if until + LONGEST_ABSENT_SECONDS <= now:
                del self._absent[video_id]
        found = await self.database.read(self._see)
        self._found.extend(each for each in found if each[0] not in self._keep_at)
        self._look_at = now + LOOK_SECONDS
        return bool(self._found)

    def _see(self, connection: Connection) -> Sequence[tuple[int, str]]:
        self._is_held = self.transaction.holds_uploads(connection)
        return () if self._is_held else uploads.look(connection, self._reach, self._clock.now())

    async def _is_here(self, video_id: int, address: str) -> bool:
        """Return True if this worker has the file."""
        with suppress(RefusedError, AddressError):  # which fails the video once it is taken
            try:
                await self._read(address)
            except AbsentError as error:
                self._miss(video_id)
                self._why_absent[video_id] = str(error)
                return False
        return True

    def _miss(self, video_id: int) -> None:
        """Leave a file that is not here to others, for longer each time."""
        _, last = self._absent.get(video_id, (0.0, ABSENT_SECONDS / 2))
        seconds = min(2 * last, LONGEST_ABSENT_SECONDS)
        self._absent[video_id] = self._clock.monotonic() + seconds, seconds
        self._reach.absent.add(video_id)

    async def _note_absent(self) -> None:
        """Write why files are not here, at once for all that were missed."""
        if self._why_absent:
            why, self._why_absent = self._why_absent, {}
            miss = partial(uploads.miss, absent=why, now=self._clock.now())
            await self.write(miss, "to note absent files")

    def _take(self, video_id: int, connection: Connection) -> Upload | None:
        return uploads.take(connection, video_id, self._reach, *self._lease())

    def _lease(self) -> tuple[datetime, datetime]:
        now = self._clock.now()
        return now, now + self.transaction.settings.lease

    async def _carry(self, upload: Upload) -> None:
        """Bring one upload as far as it goes, and write why it goes no further."""
        began, video_id = self._clock.monotonic(), upload.video_id
        self._keep_at[video_id] = began + KEEP_SECONDS
        self.state.uploading += 1
        try:
            setback = await self._bring(upload)
            seconds = round(self._clock.monotonic() - began, 3)
            if setback is not None and await self._give_back(video_id, setback):
                self.state.counts.failed += 1
                self.beside.reporter.refused(video_id, f"url: {setback.why}")
        except asyncio.CancelledError:
            self._give_back(video_id, Setback())  # the writer does it, though nobody waits for it
            raise
        except DatabaseProblem:
            self._left.add(video_id)
            raise
        except BAD_VALUE as error:
            policy, dice = self.transaction.settings.policy, self.transaction.dice()
            await self._give_back(video_id, rules.unwritten(upload, refusal(error), dice, policy))
            raise
        finally:
            del self._keep_at[video_id]
            self.state.uploading -= 1
            self.beside.news()
        why = setback and setback.why
        self.beside.reporter.log.info(
            Event.UPLOAD_ENDED, video=video_id, seconds=seconds, reason=why
        )

    def _give_back(self, video_id: int, setback: Setback) -> Awaitable[int]:
        now, worker = self._clock.now(), self._reach.worker
        return self.write(
            lambda c: uploads.set_back(c, video_id, setback, worker, now), "to give an upload back"
        )

    async def _bring(self, upload: Upload) -> Setback | None:
        """Return why an upload did not come to its end; None if it did, or if it is another's."""
        try:
            begun = await self._begin(upload)
            sent = await self._send(begun) if isinstance(begun, Upload) else begun
            return await self._end(sent) if isinstance(sent, Upload) else sent
        except AbsentError as error:
            self._miss(upload.video_id)
            return Setback(why=str(error))
        except (RefusedError, AddressError) as error:
            return Setback(why=str(error), upload=upload.anew(), is_refused=True)

    async def _begin(self, upload: Upload) -> Upload | Setback | None:
        """Return the upload with what the API has of it already, or as a new one."""
        found, _ = await self._read(upload.address)
        if why := rules.size_problem(found.size):
            return Setback(why=why, upload=upload.anew(), is_refused=True)
        if rules.is_another(upload, found):
            return self._changed(upload)
        known = replace(upload, last_sha256=None)
        if rules.goes_on(upload, found, self._clock.now()) and await self._hashed(known) == upload:
            return upload
        fresh = upload.anew(found)
        if not await self._keep(fresh):
            return None
        begun_at, answer = self._clock.now(), await self.api.initialize(found.size)
        if not isinstance(answer, Opened):
            return await self._interrupted(fresh, answer)
        begun = replace(
            fresh, upload_id=answer.upload_id, chunk_size=answer.chunk_size, begun_at=begun_at
        )
        return begun if await self._keep(begun) else None

    async def _send(self, upload: Upload) -> Upload | Setback | None:
        """Send the chunks that are left, one after the other."""
        # The same room for all, since new pages take long.
        room = memoryview(bytearray(upload.chunk_size))
        while upload.acknowledged < upload.chunks:
            if self.limiter.is_shut or self._is_held:
                return Setback() if await self._keep(upload) else None
            offset, size = upload.place(upload.acknowledged)
            found, read = await self._read(upload.address, offset, room[:size])
            if found != upload.identity or read < size:
                return self._changed(upload)
            upload_id, part = str(upload.upload_id), room[:size]
            sending = self.api.send_chunk(upload_id, upload.acknowledged, part)
            answer = await self._meanwhile(sending, upload)
            if answer is None:
                return None
            if not isinstance(answer, Taken):
                return await self._interrupted(await self._hashed(upload), answer)
            self._goes_well()
            upload = upload.with_one_more()
        return upload

    async def _end(self, upload: Upload) -> Setback | None:
        """Finalize, once it is on disk that nobody may do so again."""
        found, _ = await self._read(upload.address)
        if found != upload.identity:
            return self._changed(upload)
        if not await self._keep(upload):
            return None
        answer = await self._meanwhile(self.api.finalize(str(upload.upload_id)), upload)
        if answer is None:
            return None
        if not isinstance(answer, Finished):
            return await self._interrupted(upload, answer)
        self._goes_well()
        now, worker, url = self._clock.now(), self._reach.worker, answer.url
        finish = partial(uploads.finish, upload=upload, worker=worker, url=url, now=now)
        if not await self.write(finish, "to finish an upload"):
            return Setback(why=rules.GIVEN_TWICE, upload=upload.anew(), is_refused=True)
        return None

    async def _keep(self, upload: Upload) -> bool:
        """Write how far an upload has come, and see what holds all. Return False if it is lost."""
        whole, (now, until) = await self._hashed(upload), self._lease()

        def keep(connection: Connection) -> bool:
            self._is_held = self.transaction.holds_uploads(connection)
            return uploads.keep(connection, whole, self._reach.worker, now, until)

        self._keep_at[upload.video_id] = self._clock.monotonic() + KEEP_SECONDS
        return await self.write(keep, "to keep an upload")

    async def _meanwhile(self, asking: Coroutine[None, None, T], upload: Upload) -> T | None:
        """Return an answer, None if the upload is lost meanwhile. Its lease is prolonged."""
        asked = asyncio.create_task(asking)
        try:
            while True:
                left = self._keep_at[upload.video_id] - self._clock.monotonic()
                if (await asyncio.wait({asked}, timeout=max(0.0, left)))[0]:
                    return asked.result()
                upload = await self._hashed(upload)  # once for all the times that it is kept
                if not await self._keep(upload):
                    return None
        finally:
            asked.cancel()

    async def _hashed(self, upload: Upload) -> Upload:
        """Return it with the hash of its last acknowledged chunk, as that is in the file now."""
        if not upload.acknowledged or upload.last_sha256 is not None:
            return upload
        place = upload.place(upload.acknowledged - 1)
        path, reach = path_of(upload.address), self._reach.roots
        found = await asyncio.to_thread(roots.digest, reach, path, *place)
        return replace(upload, last_sha256=found)

    async def _read(
        self, address: str, offset: int = 0, room: memoryview = NO_ROOM
    ) -> tuple[Identity, int]:
        path = path_of(address)
        return await asyncio.to_thread(roots.part, self._reach.roots, path, offset, room)

    def _changed(self, upload: Upload) -> Setback:
        return rules.changed(upload, self.transaction.dice(), self.transaction.settings.policy)

    def _goes_well(self) -> None:
        self._troubles = 0
        self.state.note_uploads(None, self._clock.monotonic())

    async def _interrupted(self, upload: Upload, outcome: Outcome) -> Setback:
        """Have all uploads wait where others would meet the same, and all requests if asked for."""
        policy, dice = self.transaction.settings.policy, self.transaction.dice()
        setback = rules.interrupted(upload, outcome, dice, policy)
        if setback.holds_all:
            self._troubles += 1
            now, wait = self._clock.monotonic(), policy.wait(self._troubles, dice)
            self._quiet_until = now + wait.total_seconds()
            reason = _REASONS.get(type(outcome), StopReason.UNREACHABLE)
            self.state.note_uploads(Stop(reason=reason, message=setback.why), now)
        if isinstance(outcome, Throttled | TryLater) and outcome.retry_after is not None:
            hold, seconds, why = self.transaction.pacer.hold, outcome.retry_after, outcome.message
            await self.write(lambda c: hold(c, seconds, why), "to hold all")
        return setback
