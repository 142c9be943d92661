"""Judge jobs and their results by the book of `simulate`: ends, files, and nothing else there."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from tests.processes.programs import Row, execute
from worker.simulator import results
from worker.simulator.book import End, Job, read


class Ends:
    """The jobs in the book by now, and how each has ended, by their ids."""

    def __init__(self, book: Path) -> None:
        entries = list(read(book))
        self.jobs = {entry.job_id: entry for entry in entries if isinstance(entry, Job)}
        self.ends = {entry.job_id: entry.ended_as for entry in entries if isinstance(entry, End)}

    def of(self, ended_as: str) -> set[str]:
        """Return the jobs that ended so."""
        return {job_id for job_id, end in self.ends.items() if end == ended_as}


def misjudged(book: Path, database: str) -> Iterator[str]:
    """Yield each job whose end in the table is not the book's (law 15), and each that is followed
    by nobody.
    """
    rows = {str(row["job_id"]): row for row in execute(database, "SELECT * FROM jobs")}
    known = Ends(book)  # after the rows: an end is in the book before any answer shows it
    for job_id, row in rows.items():
        if row["ended_as"] is not None and row["ended_as"] != known.ends.get(job_id):
            yield f"{job_id}: {row['ended_as']} in the table, {known.ends.get(job_id)} in the book"
    videos = execute(database, "SELECT job_id FROM videos WHERE job_id IS NOT NULL")
    for video in videos:
        if video["job_id"] not in rows:
            yield f"{video['job_id']}: nobody follows it"


def unproven(book: Path, database: str, folder: Path, kinds: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the results of the table's finished jobs: one file each that is what
    the API served, under its name and hash, and no other file.
    """
    known = Ends(book)
    ours = {row["job_id"] for row in execute(database, "SELECT job_id FROM jobs")}
    rows = {(r["job_id"], r["type"]): r for r in execute(database, "SELECT * FROM results")}
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    wanted = {(job_id, kind) for job_id in known.of("finished") & ours for kind in kinds}
    for job_id, kind in sorted(wanted - rows.keys()):
        yield f"{job_id}: finished, and nobody wants its {kind}"
    for key in sorted(rows.keys() - wanted):
        yield f"{key}: wanted, but the book has {known.ends.get(str(key[0]))}"
    for key, row in sorted(rows.items()):
        yield from _unlike(known.jobs[str(key[0])], str(key[1]), row, files)
    for name in sorted(files.keys() - {str(row["path"]) for row in rows.values()}):
        yield f"{name}: a file that no row names"


def _unlike(job: Job, kind: str, row: Row, files: Mapping[str, Path]) -> Iterator[str]:
    """Yield how a stored result differs from what was served."""
    named = [name for name in files if f"{job.job_id}.{kind}." in name]
    if row["state"] != "stored" or [row["path"]] != named:
        yield f"{job.job_id}: {kind} is {row['state']} ({row['error']}), its files are {named}"
        return
    data = files[named[0]].read_bytes()
    if (row["bytes"], row["sha256"]) != (len(data), sha256(data).hexdigest()):
        yield f"{job.job_id}: {kind} is not what its row says"
    served = gzip.decompress(data) if named[0].endswith(".gz") else data
    if served != results.document(job, kind):
        yield f"{job.job_id}: {kind} is not what was served"
