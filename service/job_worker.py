"""A process that does one job: unpack what was uploaded, clean it, pack what is left.

It is killed when the job is cancelled, and started again after any end; what it finds in
the folder of the job says how far it was. Nothing outside that folder is written.
"""

import os
import shutil
import stat
import sys
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import orjson

from dedup.errors import DedupError, InputError, OutputError
from dedup.files import write_whole
from dedup.progress import Done, Progress

# Files of a job's folder.
JOB, UPLOAD, PROGRESS, DONE, FAILED = (
    "job.json", "upload", "progress.json", "done.json", "failed.json",
)  # fmt: skip
INPUT, OUT = "input", "out"
LINES_NAME: Final = "documents.jsonl"

# How a run that failed for a reason of its own ends; any other end is tried once more.
REFUSED: Final = 3

_MOST_ENTRIES: Final = 1_000_000
_MOST_DEPTH: Final = 64
_NAME_BYTES, _PATH_BYTES = 255, 3000
_CHARS_SHOWN: Final = 80

# A small archive may unpack to so much, whatever its ratio.
_ALWAYS_BYTES: Final = 16 << 20
_COPIED_AT_ONCE: Final = 1 << 20

_SECONDS_BETWEEN: Final = 0.2

# A run that takes long keeps what it did; the service may be stopped at any time.
_SAVE_SECONDS: Final = 10.0

_DAMAGE: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


def name_result(kind: str) -> str:
    """Return what the result of a job is called."""
    return f"result.{kind}"


def check_upload(path: Path, kind: str) -> None:
    """Refuse what is no archive of its kind at the first look.

    Raises
    ------
    InputError
        It says why.
    """
    try:
        if kind == "zip" and not zipfile.is_zipfile(path):
            raise InputError("body", "is no zip archive")
        if kind.startswith("tar"):
            # With its first entry.
            with _open_tar(path, kind) as archive:
                archive.next()
    except (*_DAMAGE, OSError) as error:
        raise InputError("body", f"is no {kind} archive: {error}") from None


class _Report(Progress):
    """Writes how far the job is, a few times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    @contextmanager
    def stage(self, name: str, total: int = 0, unit: str = "") -> Iterator[Done]:
        """See `Progress.stage`."""
        count = 0
        self._write(name, 0, total, unit)

        def done(more: int) -> None:
            nonlocal count
            count += more
            if time.monotonic() >= self._next:
                self._write(name, count, total, unit)

        yield done
        self._write(name, count, total, unit)

    def _write(self, name: str, count: int, total: int, unit: str) -> None:
        self._next = time.monotonic() + _SECONDS_BETWEEN
        value = {"stage": name, "done": count, "total": total, "unit": unit}
        beside = self._path.with_suffix(".new")
        beside.write_bytes(orjson.dumps(value))
        beside.replace(self._path)


class Unpacking:
    """Files of an archive, written below a folder, within limits.

    Parameters
    ----------
    target
        The folder.
    job
        `bytes` of the archive, `ratio` and `unpacked_bytes` that it may have.
    done
        Told of bytes that are written.
    """

    def __init__(self, target: Path, job: dict[str, Any], done: Done) -> None:
        self._target, self._done = target, done
        self._left = min(job["unpacked_bytes"], max(job["ratio"] * job["bytes"], _ALWAYS_BYTES))
        self._names: dict[str, str] = {}
        self._count = 0

    def write(self, name: str, opened: Callable[[], IO[bytes] | None]) -> None:
        """Write one file."""
        parts = self._check(name)
        place = self._target.joinpath(*parts)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            source = opened()
            if source is None:
                raise InputError(_show(name), "has no content")
            with source, place.open("xb") as file:
                while part := source.read(_COPIED_AT_ONCE):
                    self._left -= len(part)
                    if self._left < 0:
                        raise InputError(_show(name), "the archive unpacks to more than it may")
                    file.write(part)
                    self._done(len(part))
        except (FileExistsError, NotADirectoryError):
            raise InputError(_show(name), "is a file and a folder, or there twice") from None
        except _DAMAGE as error:
            raise InputError(_show(name), f"is damaged: {error}") from None
        except RuntimeError as error:
            # So zipfile tells of a password.
            raise InputError(_show(name), f"cannot be unpacked: {error}") from None
        except OSError as error:
            raise OutputError(_show(name), error.strerror or str(error)) from None

    def _check(self, name: str) -> list[str]:
        """Return the parts of a name, when it is a safe one."""
        self._count += 1
        if self._count > _MOST_ENTRIES:
            raise InputError(_show(name), f"there are over {_MOST_ENTRIES} entries")
        parts = name.split("/")
        reason = None
        if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
            reason = "is no relative path"
        elif ".." in parts:
            reason = "leads out of the archive"
        elif "\\" in name or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
            reason = "has a backslash, a control character, or a byte that is not UTF-8"
        elif not all(parts) or "." in parts:
            reason = "has an empty part, or one that is a dot"
        elif len(parts) > _MOST_DEPTH or len(name.encode()) > _PATH_BYTES:
            reason = "is too long, or too deep"
        elif any(len(part.encode()) > _NAME_BYTES for part in parts):
            reason = f"has a part of over {_NAME_BYTES} bytes"
        if reason:
            raise InputError(_show(name), reason)
        # On some disks they would be one.
        same = unicodedata.normalize("NFC", name).casefold()
        if same in self._names:
            raise InputError(_show(name), f"is there twice: {_show(self._names[same])}")
        self._names[same] = name
        return parts


def unpack(folder: Path, job: dict[str, Any], progress: Progress) -> None:
    """Unpack the upload of a job into its input, within its limits.

    Raises
    ------
    InputError
        When something in it may not be there; it names the entry.
    """
    part, target = folder / f"{INPUT}.part", folder / INPUT
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with progress.stage("unpacking", unit="bytes") as done:
        unpacking = Unpacking(part, job, done)
        if job["kind"] == "jsonl":
            os.link(folder / UPLOAD, part / LINES_NAME)
        elif job["kind"] == "zip":
            unpack_zip(folder / UPLOAD, unpacking)
        else:
            _unpack_tar(folder / UPLOAD, job["kind"], unpacking)
    part.replace(target)


def unpack_zip(path: Path, unpacking: Unpacking) -> None:
    """Write the files of a zip archive; `InputError` names the entry that may not be there."""
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, OSError) as error:
        raise InputError("upload", f"is no zip archive: {error}") from None
    with archive:
        for entry in archive.infolist():
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise InputError(_show(entry.filename), "is a link")
            if entry.flag_bits & 1:
                raise InputError(_show(entry.filename), "is encrypted")
            if not entry.is_dir():
                unpacking.write(entry.orig_filename, partial(archive.open, entry))


def _unpack_tar(path: Path, kind: str, unpacking: Unpacking) -> None:
    try:
        with _open_tar(path, kind) as archive:
            for entry in archive:
                if entry.isdir():
                    continue
                if not entry.isreg():
                    raise InputError(_show(entry.name), "is a link or a device")
                name = entry.name.removeprefix("./")
                unpacking.write(name, partial(archive.extractfile, entry))
    except (*_DAMAGE, OSError) as error:
        raise InputError("upload", f"is damaged: {error}") from None


def _open_tar(path: Path, kind: str) -> tarfile.TarFile:
    return tarfile.open(path, "r|gz" if kind == "tar.gz" else "r|")


def pack(folder: Path, kind: str, progress: Progress) -> None:
    """Pack the cleaned files as the upload was packed."""
    from dedup.runs import MANIFEST_NAME, MAP_NAME, SUMMARY_NAME

    out, target = folder / OUT, folder / name_result(kind)
    part = folder / f"{target.name}.part"
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
    own = {out / MAP_NAME, out / SUMMARY_NAME, out / MANIFEST_NAME}
    files = [path for path in files if path not in own]
    with progress.stage("packing", len(files), "files") as done:
        if kind == "jsonl":
            shutil.copyfile(out / LINES_NAME, part)
        elif kind == "zip":
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in files:
                    archive.write(path, path.relative_to(out).as_posix())
                    done(1)
        else:
            with tarfile.open(part, "w:gz" if kind == "tar.gz" else "w") as packed:
                for path in files:
                    packed.add(path, path.relative_to(out).as_posix())
                    done(1)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def work(folder: Path) -> None:
    """Do a job.

    Raises
    ------
    DedupError
        When it cannot be done.
    """
    job = orjson.loads((folder / JOB).read_bytes())
    progress = _Report(folder / PROGRESS)
    if not (folder / INPUT).exists():
        unpack(folder, job, progress)
    # Kernels take a second to load, and an archive that is none needs none of them.
    from dedup.checkpoints import has_state
    from dedup.filters import Filters
    from dedup.options import Options
    from dedup.runs import Plan, run

    out = folder / OUT
    is_begun = has_state(out)
    plan = Plan(
        paths=[str(folder / INPUT)],
        out=str(out),
        resume=is_begun,
        overwrite=not is_begun,
        save_seconds=_SAVE_SECONDS,
    )
    done = run(plan, Options.from_mapping(job["options"]), Filters(), progress=progress)
    pack(folder, job["kind"], progress)
    failures = [failure.to_mapping() for failure in done.failures]
    value = {"summary": done.summary, "failures": failures, "notes": done.notes}
    write_whole(str(folder / DONE), orjson.dumps(value))


def _show(name: str) -> str:
    """Show the name of an entry, cut short, whatever is in it."""
    shown = name.encode("unicode_escape").decode()
    return shown if len(shown) <= _CHARS_SHOWN else shown[: _CHARS_SHOWN - 3] + "..."


def main() -> int:
    """Do the job of the folder that is given; return how it ended."""
    folder = Path(sys.argv[1])
    # Who asks the service something is served before.
    os.nice(10)
    try:
        work(folder)
    except DedupError as error:
        # Where the folder of the job is concerns nobody.
        reason = str(error).replace(f"{folder / INPUT}/", "").replace(f"{folder}/", "")
        write_whole(str(folder / FAILED), orjson.dumps({"reason": reason}))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
