"""Folders that a service cleans: packed, uploaded, and unpacked as the command writes them."""

import shutil
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from dedup.documents import Failure
from dedup.errors import DedupError, InputError, OutputError
from dedup.files import write_whole
from dedup.intake import find_input
from dedup.options import Options
from dedup.progress import Progress
from dedup.runs import MAP_NAME, SUMMARY_NAME, Run, check_out
from service.client import Client, Job
from service.job_worker import Unpacking, unpack_zip

# What comes back is smaller than what went there, unless files were packed better here.
_MOST_RATIO: Final = 10_000
_MOST_BYTES: Final = 1 << 50

_LOOK_SECONDS: Final = 0.3


def clean_corpus(
    client: Client,
    paths: Sequence[str],
    out: str,
    include: Sequence[str],
    exclude: Sequence[str],
    options: Options,
    progress: Progress,
) -> Run:
    """Have a service clean a folder or a corpus, as a job.

    Parameters
    ----------
    paths
        One of them: the order in which several are read would be lost.
    out
        Folder of the cleaned mirror, its map and its summary; it is empty, or made.

    Raises
    ------
    InputError
        When there is nothing to clean.
    OutputError
        When `out` cannot be written; `ServiceError` when the service refuses the job or
        fails in it.
    """
    if len(paths) > 1 or paths[0] == "-":
        raise InputError(" ".join(paths), "a service is given one folder or file at a time")
    check_out(out, paths, overwrite=False)
    found = find_input(paths, (), include, exclude)
    failures = found.failures
    target = Path(out).resolve()
    with TemporaryDirectory(prefix=".dedup-", dir=target.parent) as name:
        beside = Path(name)
        archive = beside / "upload.zip"
        with (
            progress.stage("packing", len(found.files), "files") as done,
            zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        ):
            for file in found.files:
                try:
                    packed.write(file.path, file.name)
                except (OSError, ValueError) as error:
                    failures.append(Failure(file.name, str(error)))
                done(1)
        with progress.stage("uploading"):
            job = client.submit(archive, options)
        try:
            ended = _wait(client, job, progress)
            if ended.state != "done" or ended.summary is None:
                raise OutputError("the service", f"the job {ended.state}: {ended.reason}")
            with progress.stage("downloading"):
                client.download(job.id, archive)
                client.download(job.id, beside / MAP_NAME, what="map")
        finally:
            # Also when it is stopped here; what cannot be removed goes after its time.
            with suppress(DedupError):
                client.cancel(job.id)
        mirror = beside / "out"
        mirror.mkdir()
        limits = {
            "bytes": archive.stat().st_size,
            "ratio": _MOST_RATIO,
            "unpacked_bytes": _MOST_BYTES,
        }
        with progress.stage("unpacking", unit="bytes") as done:
            unpack_zip(archive, Unpacking(mirror, limits, done))
        (beside / MAP_NAME).replace(mirror / MAP_NAME)
        # Files of other kinds were not sent.
        summary = {**ended.summary, "unread_files": found.summarise_unread()}
        write_whole(
            str(mirror / SUMMARY_NAME),
            orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        )
        try:
            for entry in mirror.iterdir():
                shutil.move(entry, target / entry.name)
        except OSError as error:
            raise OutputError(out, error.strerror or str(error)) from None
    told = [Failure(**one) for one in ended.values.get("failures") or ()]
    notes = [str(note) for note in ended.values.get("notes") or ()]
    return Run(summary, [*failures, *told], notes, iter(()), str(Path(out) / MAP_NAME))


def _wait(client: Client, job: Job, progress: Progress) -> Job:
    """Wait for a job, and show how far it is."""
    now = client.job(job.id)
    while not now.has_ended:
        stage, before = now.stage, 0
        with progress.stage(stage or "waiting", now.total or 0, now.unit or "") as done:
            while now.stage == stage and not now.has_ended:
                done((now.done or 0) - before)
                before = now.done or 0
                time.sleep(_LOOK_SECONDS)
                now = client.job(job.id)
    return now
