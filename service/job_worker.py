"""A process that does one job: unpack what was uploaded, clean it, pack what is left.

It is killed when the job is cancelled, and started again after any end; what it finds in
the folder of the job says how far it was. Nothing outside that folder is written. It ends
with who started it, who holds its standard input open for that.
"""

import errno
import gzip
import lzma
import os
import resource
import shutil
import stat
import struct
import sys
import tarfile
import threading
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Self, cast

import orjson

from dedup.documents import CorpusFile, FileError, Limits
from dedup.errors import DedupError, InputError, OutputError
from dedup.filelist import kind_of
from dedup.files import write_whole
from dedup.progress import Done, Progress
from dedup.streams import InputStream

# Files of a job's folder.
JOB, UPLOAD, PROGRESS, DONE, FAILED = (
    "job.json", "upload", "progress.json", "done.json", "failed.json",
)  # fmt: skip
INPUT, OUT, MAP = "input", "out", "map.jsonl"
LINES_NAME: Final = "documents.jsonl"

# How a run that failed for a reason of its own ends; any other end is tried once more.
REFUSED: Final = 3

# Entries of any kind, and the folders they stand in: each is an inode, whatever it holds.
_MOST_ENTRIES: Final = 1_000_000
_MOST_DEPTH: Final = 64

# What the headers of one entry of a tar may take. tarfile reads an extended header whole:
# with no limit a .tar.gz of 0.3 MB had 609 MiB taken for one.
_HEADER_BYTES: Final = 1 << 20

# Memory for unpacking: what is known of a million entries of a zip takes 0.7 GiB.
_UNPACKING_BYTES: Final = 2 << 30
_NAME_BYTES, _PATH_BYTES = 255, 3000
_CHARS_SHOWN: Final = 80

# A small archive may unpack to so much, whatever its ratio.
_ALWAYS_BYTES: Final = 16 << 20
_COPIED_AT_ONCE: Final = 1 << 20

_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")

# Of a file in a result.
_MODE: Final = 0o644

_SECONDS_BETWEEN: Final = 0.2

# A run that takes long keeps what it did; the service may be stopped at any time.
_SAVE_SECONDS: Final = 10.0

# What could not be read, and notes, that are told one by one.
_MOST_TOLD: Final = 1000

# A file of the job cannot be unpacked, whatever the reader of its format makes of that. Of
# archives with changed bytes zipfile raises what is no error of its own for one in twenty.
_DAMAGE: Final = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError,
    NotImplementedError, ValueError, OverflowError, IndexError, KeyError, struct.error,
)  # fmt: skip


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
            with _open_tar(path, kind) as entries:
                next(entries, None)
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
        `bytes` of the archive, `ratio` and `unpacked_bytes` that it may have;
        `reserve_bytes` that stay free on the disk.
    done
        Told of bytes that are written.
    """

    def __init__(self, target: Path, job: dict[str, Any], done: Done) -> None:
        self._target, self._done = target, done
        self._left = min(job["unpacked_bytes"], max(job["ratio"] * job["bytes"], _ALWAYS_BYTES))
        self._reserve_bytes = job.get("reserve_bytes", 0)
        self._names: dict[str, str] = {}
        self._folders: set[str] = set()
        self._count = 0

    def write(self, name: str, opened: Callable[[], IO[bytes] | None]) -> None:
        """Write one file."""
        parts = self._check(name)
        place = self._target.joinpath(*parts)
        try:
            self._make_folders(parts[:-1])
            source = opened()
            if source is None:
                raise InputError(_show(name), "has no content")
            with source, place.open("xb") as file:
                while part := source.read(_COPIED_AT_ONCE):
                    self._spend(name, len(part))
                    file.write(part)
                    self._done(len(part))
            self._measure(place, name)
        except (FileExistsError, NotADirectoryError):
            raise InputError(_show(name), "is a file and a folder, or there twice") from None
        except _DAMAGE as error:
            raise InputError(_show(name), f"is damaged: {error}") from None
        except RuntimeError as error:
            # So zipfile tells of a password.
            raise InputError(_show(name), f"cannot be unpacked: {error}") from None
        except OSError as error:
            # So bz2 and gzip tell of damage, and a directory that points before the file.
            if error.errno in (None, errno.EINVAL):
                raise InputError(_show(name), f"is damaged: {error}") from None
            raise OutputError(_show(name), error.strerror or str(error)) from None

    def count(self, name: str) -> None:
        """Count an entry of any kind, or a folder."""
        self._count += 1
        if self._count > _MOST_ENTRIES:
            raise InputError(_show(name), f"there are over {_MOST_ENTRIES} entries and folders")

    def _spend(self, name: str, size: int) -> None:
        """Take from the bytes that are left; look at the disk before they are written."""
        self._left -= size
        if self._left < 0:
            raise InputError(_show(name), "the archive unpacks to more than it may")
        if self._reserve_bytes:
            free = shutil.disk_usage(self._target).free
            if free - size < self._reserve_bytes:
                raise OutputError(_show(name), f"the disk has {free} bytes left")

    def _make_folders(self, parts: list[str]) -> None:
        # The last is there when all above it are.
        if not parts or "/".join(parts) in self._folders:
            return
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            if path not in self._folders:
                self.count(path)
                (self._target / path).mkdir(exist_ok=True)
                self._folders.add(path)

    def _measure(self, place: Path, name: str) -> None:
        """Take what a packed file unpacks to from the bytes that are left, too.

        A run unpacks it, and its own limits are those of one file.
        """
        format_, compression = kind_of(name)
        if not compression:
            return
        file = CorpusFile(place, name, format_, compression)
        try:
            for block in InputStream(file, Limits()).blocks():
                self._spend(name, len(block))
        except FileError:
            # The run tells of it as of any file that cannot be read.
            return

    def _check(self, name: str) -> list[str]:
        """Return the parts of a name, when it is a safe one."""
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
            try:
                os.link(folder / UPLOAD, part / LINES_NAME)
            except OSError:
                # Some file systems have no second names.
                shutil.copyfile(folder / UPLOAD, part / LINES_NAME)
        else:
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (_UNPACKING_BYTES, before[1]))
            try:
                if job["kind"] == "zip":
                    unpack_zip(folder / UPLOAD, unpacking)
                else:
                    _unpack_tar(folder / UPLOAD, job["kind"], unpacking)
            except MemoryError:
                reason = f"takes over {_UNPACKING_BYTES >> 20} MiB of memory to unpack"
                raise InputError("upload", reason) from None
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
    part.replace(target)


def unpack_zip(path: Path, unpacking: Unpacking) -> None:
    """Write the files of a zip archive; `InputError` names the entry that may not be there."""
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, OSError) as error:
        raise InputError("upload", f"is no zip archive: {error}") from None
    with archive:
        for entry in archive.infolist():
            unpacking.count(entry.filename)
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise InputError(_show(entry.filename), "is a link")
            if entry.flag_bits & 1:
                raise InputError(_show(entry.filename), "is encrypted")
            if not entry.is_dir():
                unpacking.write(entry.orig_filename, partial(archive.open, entry))


class _Entry(tarfile.TarInfo):
    """An entry of a tar; one whose header is damaged is not taken for the end of it.

    tarfile ends at the first header that it cannot read as it does at the block of zeros
    that ends an archive, and what stands behind is lost without a word.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """See `tarfile.TarInfo.frombuf`."""
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


class _Metered:
    """A stream that gives so much for the headers of an entry, and its content beside."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.left = _HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Give what tarfile asks for."""
        data = self._source.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise tarfile.ReadError(f"a header takes over {_HEADER_BYTES} bytes")
        return data


@contextmanager
def _open_tar(
    path: Path, kind: str
) -> Iterator[Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes] | None]]]]:
    """Give the entries of a tar, and what opens each before the next one is asked for."""
    with ExitStack() as opened:
        source: IO[bytes] = opened.enter_context(path.open("rb"))
        if kind == "tar.gz":
            # Not by tarfile's own gz: it knows nothing of a second member, and pigz and
            # bgzip write many.
            source = cast("IO[bytes]", opened.enter_context(gzip.GzipFile(fileobj=source)))
        metered = _Metered(source)
        archive = opened.enter_context(
            tarfile.open(fileobj=metered, mode="r|", tarinfo=_Entry)  # type: ignore[call-overload]
        )

        def read() -> Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes] | None]]]:
            while entry := archive.next():
                # What tarfile knows of a million entries takes over 1 GiB.
                archive.members.clear()
                metered.left = _HEADER_BYTES + entry.size
                yield entry, partial(archive.extractfile, entry)

        yield read()


def _unpack_tar(path: Path, kind: str, unpacking: Unpacking) -> None:
    try:
        with _open_tar(path, kind) as entries:
            for entry, opened in entries:
                unpacking.count(entry.name)
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    raise InputError(_show(entry.name), "is a link, a device, or sparse")
                unpacking.write(entry.name.removeprefix("./"), opened)
    except (*_DAMAGE, OSError) as error:
        raise InputError("upload", f"is damaged: {error}") from None


def pack(folder: Path, kind: str, progress: Progress) -> None:
    """Pack the cleaned files as the upload was packed."""
    from dedup.runs import MANIFEST_NAME, SUMMARY_NAME

    out, target = folder / OUT, folder / name_result(kind)
    part = folder / f"{target.name}.part"
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
    own = {out / MAP, out / SUMMARY_NAME, out / MANIFEST_NAME}
    files = [path for path in files if path not in own]
    with progress.stage("packing", len(files), "files") as done:
        if kind == "jsonl":
            shutil.copyfile(out / LINES_NAME, part)
        elif kind == "zip":
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in files:
                    # Neither time nor mode: the same upload gives the same bytes.
                    entry = zipfile.ZipInfo(path.relative_to(out).as_posix())
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = (stat.S_IFREG | _MODE) << 16
                    entry.file_size = path.stat().st_size
                    with path.open("rb") as file, archive.open(entry, "w") as packed:
                        shutil.copyfileobj(file, packed, _COPIED_AT_ONCE)
                    done(1)
        else:
            with (
                _open_target(part, kind) as target_file,
                tarfile.open(fileobj=target_file, mode="w") as tar,
            ):
                for path in files:
                    # Nor who the service runs as.
                    member = tarfile.TarInfo(path.relative_to(out).as_posix())
                    member.size, member.mode = path.stat().st_size, _MODE
                    with path.open("rb") as file:
                        tar.addfile(member, file)
                    done(1)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _open_target(path: Path, kind: str) -> IO[bytes]:
    if kind == "tar.gz":
        return cast("IO[bytes]", gzip.GzipFile(path, "wb", mtime=0))
    return path.open("wb")


def forget_work(folder: Path) -> None:
    """Remove from the folder of a job that has ended all but what is told of it, and given."""
    for name in (INPUT, f"{INPUT}.part", OUT):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / UPLOAD).unlink(missing_ok=True)


def work(folder: Path) -> None:
    """Do a job.

    Raises
    ------
    DedupError
        When it cannot be done.
    """
    if (folder / DONE).exists():
        # Its end was not noted before the service ended.
        return
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
    (out / MAP).replace(folder / MAP)
    failures = shorten_failures(done.summary["failures"])
    value = {
        "summary": done.summary | {"failures": failures},
        "failures": failures,
        "notes": done.notes[:_MOST_TOLD],
    }
    write_whole(str(folder / DONE), orjson.dumps(value))


def shorten_failures(failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the first of many, and count the rest: all of them are sent with every answer."""
    more = len(failures) - _MOST_TOLD
    if more <= 0:
        return failures
    rest = {"source": "upload", "reason": f"{more} more could not be read"}
    return [*failures[:_MOST_TOLD], rest]


def _end_with_parent() -> None:
    """End at once when who started this process has ended."""

    def wait() -> None:
        # Nothing is ever written to it.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _yield_to_service() -> None:
    """Have whoever asks the service something be served before, and outlive this."""
    os.nice(10)
    # Where memory runs out, Linux ends this process and not the service.
    with suppress(OSError):
        _OOM_SCORE.write_text("1000")


def _show(name: str) -> str:
    """Show the name of an entry, cut short, whatever is in it."""
    shown = name.encode("unicode_escape").decode()
    return shown if len(shown) <= _CHARS_SHOWN else shown[: _CHARS_SHOWN - 3] + "..."


def main() -> int:
    """Do the job of the folder that is given; return how it ended."""
    folder = Path(sys.argv[1])
    _end_with_parent()
    _yield_to_service()
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
