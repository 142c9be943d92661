"""A move from a file to either kind of database, cut off wherever it can be."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, RowMapping, insert, select, update

from tests.conftest import START, Hands
from tests.parts import SETTINGS, add, later, let_start, row, states, take
from tests.plain import session
from tests.processes.programs import until
from worker.core.pace import Brake
from worker.core.relocation import copy_of, on_its_way
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.db.schema import account, history, hosts, jobs, pruned, results, uploads, videos
from worker.relocate import Move, Moved
from worker.store import relocation, shared_state
from worker.store.bulk import BELOW_ALL
from worker.store.relocation import CHUNK, Census
from worker.store.statistics import number_of
from worker.wiring import CLOCK

OLD, NEW = "sqlite:///old.db", "sqlite:///new.db"
T = TypeVar("T")

FILL = """
INSERT INTO videos (id, url, title, state, job_id, face_min_relative_height, due_at, priority,
                    claims, attempts, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
SELECT i * 2, 'https://v.example/' || i, 'ä' || i,
       CASE i % 4 WHEN 0 THEN 'pending' WHEN 1 THEN 'submitted' WHEN 2 THEN 'in_doubt'
       ELSE 'cancelled' END, CASE i % 4 WHEN 1 THEN 'job-' || i END, 0.1 + i / 1e7,
       '2026-01-01 12:00:0' || (i % 10), i % 3, 1, 1, '2026-01-01 00:00:00'
FROM n
"""
TELL = """
INSERT INTO history (video_id, attempt, at, who, fact, job_id)
SELECT id, 1, '2026-01-01 12:00:00.000001', 'w', 'accepted', job_id FROM videos
"""


LIVED = """
UPDATE jobs SET status = 'error', ended_as = 'error', ended_at = '2026-01-01 00:00:00',
details = 'no video', host = 'v.example', polls = 3 WHERE video_id % 16 = 2;
INSERT INTO jobs (job_id, video_id, attempt, accepted_at) SELECT 'earlier-' || job_id,
video_id, 1, accepted_at FROM jobs;
INSERT INTO results (job_id, type, state, path, bytes) SELECT job_id, 'core', 'stored',
'2026-01/' || job_id, 2000000000000 FROM jobs WHERE ended_as IS NULL;
INSERT INTO hosts (host, held_since, probes) VALUES ('v.example', '2026-01-01 00:00:00', 2);
INSERT INTO uploads (video_id, address, state, url, size, chunk_size, upload_id, acknowledged)
SELECT id, 'file:///media/' || id, 'ready', 'valossaupload://' || id, 7000000000, 4194304, id,
1669 FROM videos WHERE state = 'pending';
UPDATE account SET held_hosts = 1, job_seconds = 7, callback_secret = 'abc'
"""


class Cut(Database):
    """A database whose process is gone after so many writes: before the last one, or after it."""

    writes = 10**9
    after = False

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Write, or be gone."""
        self.writes -= 1
        if self.writes == 0 and not self.after:
            raise ConnectionAbortedError
        done = await super().write(work, purpose)
        if self.writes == 0:
            raise ConnectionAbortedError
        return done


def cut(url: Path | str) -> Cut:
    """Return the database of a path or an address, to be cut off after so many writes."""
    return Cut(str(url), dice=lambda: 0.5, now=CLOCK.now, waiting=lambda _: None)


@dataclass
class Bench:
    """Two files, and moves from the one to the other."""

    source: Cut
    target: Cut
    hands: Hands
    told: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def move(self) -> Move:
        """Return a move, as a process begins it."""
        return Move(
            source=self.source,
            target=self.target,
            source_name=OLD,
            target_name=NEW,
            now=self.hands.clock.now,
            who="person:me",
            tell=self.told.append,
            pause=self.pause,
        )

    async def pause(self, seconds: float) -> None:
        """Let time pass, and happen what happens meanwhile."""
        self.pauses.append(seconds)
        self.hands.pass_seconds(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()

    async def run(self) -> Moved:
        """Move to the end."""
        return await self.move().run()

    async def marks(self) -> tuple[str | None, str | None]:
        """Return the marks on both databases."""
        source, target = [await each.read(shared_state.read) for each in (self.source, self.target)]
        return source.moved_to, target.moved_to

    async def agree(self) -> None:
        """Hold that all is there, as it was."""
        for table in (videos, history, pruned, jobs, results, uploads, hosts, account):
            old, new = [
                await each.read(lambda c: c.execute(select(table)).mappings().all())  # noqa: B023
                for each in (self.source, self.target)
            ]
            assert sorted(map(_sortable, old)) == sorted(map(_sortable, new))
        assert (NEW, None) == await self.marks()


def _sortable(row: RowMapping) -> str:
    return repr({name: value for name, value in row.items() if name != "moved_to"})


async def fill(database: Database, count: int) -> None:
    """So many videos, with their history."""
    await database.write(lambda c: c.exec_driver_sql(FILL.format(count=count)), "test")
    await database.write(lambda c: c.exec_driver_sql(TELL), "test")
    gone = {"id": count + 7, "url": "u", "job_id": "pruned", "pruned_at": START}
    await database.write(lambda c: c.execute(insert(pruned).values(gone)), "test")
    for sql in LIVED.split(";"):
        await database.write(lambda c, sql=sql: c.exec_driver_sql(sql), "test")  # type: ignore[misc]


@pytest.fixture
def old(migrated: Path, tmp_path: Path) -> Path:
    """Make a migrated file."""
    return Path(shutil.copy(migrated, tmp_path / "old.db"))


@pytest.fixture
async def bench(old: Path, url: str, hands: Hands) -> AsyncIterator[Bench]:
    """Make a queue in a file, and an empty one of either kind."""
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(cut(old))
        target = await stack.enter_async_context(cut(url))
        await let_start(source, START)
        yield Bench(source, target, hands)


async def test_everything_is_there_as_it_was(bench: Bench) -> None:
    """Every video and its history is in the new place as it was."""
    await fill(bench.source, CHUNK + 10)
    done = await bench.run()
    await bench.agree()
    states_then = {"pending": 252, "submitted": 253, "in_doubt": 253, "cancelled": 252}
    expected = {"submitting": 0, "failed": 0, **states_then}
    assert Census(expected, CHUNK + 10) == Census(dict(done.census.videos), done.census.history)
    rows = {"jobs": 506, "videos": CHUNK + 10, "uploads": 252, "history": CHUNK + 10, "pruned": 1}
    assert rows == done.copied
    assert [] == bench.told


async def test_what_all_share_moves_along(bench: Bench) -> None:
    """Pause, cool-down and pace move along."""
    brake = Brake(low=2.0, ceiling=3.0, cut_at=START)
    for change in (
        lambda c: shared_state.pause(c, START, "lunch"),
        lambda c: shared_state.cool_down(c, later(START, 9), "too fast", START),
        lambda c: shared_state.brake(c, brake),
        lambda c: shared_state.list_asked(c, later(START, 1)),
        lambda c: shared_state.list_read(c, later(START, 2)),
        lambda c: shared_state.reserve(c, later(START, 3), START),
    ):
        await bench.source.write(change, "test")
    before = await bench.source.read(shared_state.read)
    await bench.run()
    assert before == await bench.target.read(shared_state.read)


@pytest.mark.parametrize("filled", [0, 3])
async def test_ids_from_0_on_or_below_move_along(bench: Bench, filled: int) -> None:
    """Videos that another program counted from 0 or below are copied, and continued above 0."""
    if filled:
        await fill(bench.source, filled)
    for number in (-5, 0):
        await add(bench.source, f"https://v.example/{number}", id=number)
    done = await bench.run()
    await bench.agree()
    assert filled + 2 == done.copied["videos"]
    await add(bench.target, "https://v.example/new")
    new = filled + 8 if filled else 1  # a pruned video of ``fill`` has the number before
    assert "https://v.example/new" == (await row(bench.target, new))["url"]


async def test_a_target_with_a_video_0_is_not_empty(bench: Bench) -> None:
    """A target whose only video has the number 0 is refused and left as it was."""
    await add(bench.target, "https://v.example/0", id=0)
    with pytest.raises(DatabaseProblem, match="holds videos already: name an empty one with --to"):
        await bench.run()


@pytest.mark.parametrize(("gone", "new"), [(8, 11), (12, 13)])
async def test_new_videos_get_new_numbers(bench: Bench, gone: int, new: int) -> None:
    """A new video gets an id that no other had, not even one that is pruned."""
    await fill(bench.source, 5)
    await bench.source.write(lambda c: c.execute(update(pruned).values(id=gone)), "test")
    await bench.source.write(lambda c: c.exec_driver_sql("DELETE FROM videos WHERE id > 4"), "test")
    await bench.run()
    await add(bench.target, "https://v.example/new")
    assert "https://v.example/new" == (await row(bench.target, new))["url"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_move_that_is_cut_off_anywhere_goes_on(
    bench: Bench, side: str, *, after: bool
) -> None:
    """A move that was cut off at any write goes on, with one open queue at most."""
    await fill(bench.source, CHUNK + 1)
    database: Cut = getattr(bench, side)
    database.after = after
    cuts = 0
    for point in range(1, 100):
        database.writes = point
        try:
            await bench.run()
        except ConnectionAbortedError:
            cuts += 1
            source, target = await bench.marks()
            opened = target is None and await states(bench.target) != {}
            assert source == NEW if opened else (source, target) != (NEW, None)
        else:
            break
    database.writes = 10**9
    await bench.agree()
    assert cuts >= (3 if side == "source" else 4)
    assert {} == (await bench.run()).copied


async def test_a_move_that_goes_on_copies_what_is_missing(bench: Bench) -> None:
    """A continued move copies the missing rows alone."""
    await fill(bench.source, 3 * CHUNK)
    bench.target.writes, bench.target.after = 5, True
    with pytest.raises(ConnectionAbortedError):
        await bench.run()
    assert 2 * CHUNK == sum((await states(bench.target)).values())
    bench.target.writes = 10**9
    copied = {"jobs": 0, "videos": CHUNK, "uploads": 750, "history": 3 * CHUNK, "pruned": 1}
    assert copied == (await bench.run()).copied
    await bench.agree()


async def test_all_jobs_of_a_video_are_copied_at_once(bench: Bench) -> None:
    """A move that goes on after the jobs of a video has left none of them behind."""
    await fill(bench.source, 2 * CHUNK)
    await bench.source.write(lambda c: c.exec_driver_sql("UPDATE jobs SET video_id = 2"), "test")
    await bench.run()
    assert CHUNK == await bench.target.read(lambda c: number_of(c, jobs))
    await bench.agree()


async def test_rows_that_another_move_has_copied_are_not_copied(bench: Bench) -> None:
    """Rows that another move has copied are not copied again."""
    await fill(bench.source, 2)
    await bench.target.write(lambda c: relocation.mark(c, copy_of(OLD)), "test")
    rows = await bench.source.read(lambda c: relocation.rows(c, videos, BELOW_ALL))
    put = bench.move().put
    assert [2, 0] == [
        await bench.target.write(lambda c: put(c, videos, BELOW_ALL, rows), "test")
        for _ in range(2)
    ]


async def test_two_moves_at_once_are_one(bench: Bench, old: Path, url: str) -> None:
    """Two moves at once copy every row once."""
    await fill(bench.source, 3 * CHUNK)
    async with cut(old) as source, cut(url) as target:
        other = Bench(source, target, bench.hands)
        ended = await asyncio.gather(bench.run(), other.run(), return_exceptions=True)
    problems = [end for end in ended if isinstance(end, BaseException)]
    assert all(isinstance(problem, DatabaseProblem) for problem in problems)
    assert len(problems) < 2
    await bench.agree()


async def claimed(bench: Bench) -> None:
    """Claim two videos."""
    await add(bench.source, "https://v.example/1", "https://v.example/2", due_at=START)
    await take(bench.source, START, 2)


async def test_what_is_in_flight_is_waited_for(bench: Bench) -> None:
    """A move waits for the claims in flight."""
    await claimed(bench)
    sql = "UPDATE videos SET state = 'submitted', job_id = 'job-' || id WHERE id = {}"

    async def answer() -> None:
        number = len(bench.pauses)
        await bench.source.write(lambda c: c.exec_driver_sql(sql.format(number)), "test")

    bench.meanwhile = answer
    await bench.run()
    assert [1.0, 1.0] == bench.pauses
    assert {"submitted": 2} == await states(bench.target)
    end = START + SETTINGS.lease
    (told,) = bench.told
    assert f"2 in flight in {OLD}: waiting until they are settled, or their leases" in told
    assert told.endswith(f"at {end:%Y-%m-%d %H:%M:%S} UTC at the latest")
    await bench.agree()


async def test_a_lease_that_runs_out_ends_the_wait(bench: Bench) -> None:
    """An expired lease becomes a doubt and ends the wait."""
    await claimed(bench)
    await bench.run()
    assert SETTINGS.lease.total_seconds() == sum(bench.pauses)
    assert {"in_doubt": 2} == await states(bench.target)
    await bench.agree()


async def test_nothing_is_copied_before_nothing_is_in_flight(bench: Bench) -> None:
    """No row is copied while a claim is in flight."""
    await claimed(bench)

    async def look() -> None:
        assert {} == await states(bench.target)
        assert (on_its_way(NEW), copy_of(OLD)) == await bench.marks()

    bench.meanwhile = look
    await bench.run()
    assert bench.pauses


async def test_a_queue_that_is_not_empty_is_left_alone(bench: Bench) -> None:
    """A target with rows is refused and left as it was."""
    await fill(bench.source, 3)
    await add(bench.target, "https://v.example/other")
    with pytest.raises(DatabaseProblem, match="holds videos already: name an empty one with --to"):
        await bench.run()
    assert (None, None) == await bench.marks()


async def test_a_row_that_comes_while_the_target_is_marked_ends_the_move(
    bench: Bench, served: str
) -> None:
    """A row that comes into the target too early ends the move."""
    await fill(bench.source, 3)
    with session(served) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO videos (url) VALUES ('https://v.example/theirs')")
        moving_ = asyncio.create_task(bench.run())
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: other.execute(waiting) != [(0,)])
        other.execute("COMMIT")
        with pytest.raises(DatabaseProblem, match="holds videos already"):
            await moving_
    assert (None, None) == await bench.marks()


@pytest.mark.usefixtures("served")
async def test_a_row_that_the_target_does_not_take_is_named(bench: Bench) -> None:
    """A row that the target refuses is named without its links, and with where the way out is."""
    await fill(bench.source, 2 * CHUNK)
    far = "UPDATE videos SET due_at = '9999-12-31 23:59:59' WHERE id = 2468"
    await bench.source.write(lambda c: c.exec_driver_sql(far), "test")
    with pytest.raises(DatabaseProblem, match="row 2468 of videos") as said:
        await bench.run()
    assert "https" not in str(said.value)
    assert "as config/deploy/README.md says (Moving house)" in str(said.value)
    assert (on_its_way(NEW), copy_of(OLD)) == await bench.marks()


async def test_a_copy_that_is_not_the_same_is_not_opened(bench: Bench, old: Path) -> None:
    """A copy that differs from the source is not opened."""
    await fill(bench.source, CHUNK)
    bench.target.writes, bench.target.after = 3, True  # the mark, the jobs, and the videos
    with pytest.raises(ConnectionAbortedError):
        await bench.run()
    with closing(sqlite3.connect(old)) as plain, plain:
        plain.execute("UPDATE videos SET state = 'failed' WHERE state = 'in_doubt'")
    bench.target.writes = 10**9
    with pytest.raises(DatabaseProblem, match="is not what is in"):
        await bench.run()
    assert (on_its_way(NEW), copy_of(OLD)) == await bench.marks()


async def test_a_database_by_two_names_is_left_as_it_was(bench: Bench) -> None:
    """A queue whose target is itself is refused, and can be worked on."""
    bench.target = bench.source
    with pytest.raises(DatabaseProblem, match="are one database: name another to move to"):
        await bench.move().run()
    assert (await bench.source.read(shared_state.read)).moved_to is None


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_mark_that_somebody_takes_out_meanwhile_ends_the_move(
    bench: Bench, side: str
) -> None:
    """A mark that another program takes out ends the move."""
    await fill(bench.source, 3)
    await claimed(bench)
    database: Database = getattr(bench, side)

    async def take_out() -> None:
        await database.write(relocation.unmark, "test")

    bench.meanwhile = take_out
    with pytest.raises(DatabaseProblem, match="its mark was changed by somebody else"):
        await bench.run()
    assert NEW not in await bench.marks()


async def test_an_older_half_copy_is_not_gone_on_with(bench: Bench) -> None:
    """An older half copy is not continued."""
    await fill(bench.source, CHUNK + 1)
    bench.target.writes, bench.target.after = 2, True
    with pytest.raises(ConnectionAbortedError):
        await bench.run()
    bench.target.writes = 10**9
    await bench.source.write(relocation.unmark, "test")
    with pytest.raises(DatabaseProblem, match="a part of an older copy"):
        await bench.run()
