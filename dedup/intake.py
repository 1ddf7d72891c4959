"""The intake of a run: all documents of all files, in columns, the reference first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from dedup import formats
from dedup.checkpoints import Checkpoint, FileRead
from dedup.corpus import Lookout, TextBuffer
from dedup.errors import InputError
from dedup.formats import CorpusFile, Failure, Fields
from dedup.options import Options
from dedup.progress import Done, Progress
from dedup.report import describe_unread
from dedup.scratch import Scratch

# Text that a byte of a compressed file is expected to unpack to.
_UNPACKED = 6

# Endings that the summary lists, and things of a kind that an error does.
_MOST_ENDINGS = 20
_MOST_LISTED = 5


@dataclass(frozen=True)
class Found:
    """What a run is to read.

    Attributes
    ----------
    reference, files
        Files of the reference, and those to be cleaned.
    failures
        What is no file, or none that can be read.
    unread
        How many files of other kinds lie in the folders, by their endings.
    """

    reference: list[CorpusFile]
    files: list[CorpusFile]
    failures: list[Failure]
    unread: Counter[str]

    def summarise_unread(self) -> dict[str, object]:
        """Return what the summary says of files of other kinds."""
        endings = sorted(self.unread.items(), key=lambda one: (-one[1], one[0]))
        return {"count": self.unread.total(), "suffixes": dict(endings[:_MOST_ENDINGS])}


@dataclass
class Intake:
    """What was read.

    Attributes
    ----------
    buffer, ids
        Texts and names of the documents.
    lookout
        Cuts and describes them meanwhile, if units are asked for.
    dates, priorities
        A value for each document, where a keep policy asks for one.
    files
        All files, those that could not be read too.
    failures
        What could not be read.
    reference_count, reference_files
        How many documents and files at the beginning are the reference.
    """

    buffer: TextBuffer
    ids: TextBuffer
    lookout: Lookout | None
    dates: list[object | None] = field(default_factory=list)
    priorities: list[object | None] = field(default_factory=list)
    files: list[FileRead] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    reference_count: int = 0
    reference_files: int = 0

    @property
    def checksum(self) -> str:
        """Checksum of all files in their order."""
        parts = [
            f"{one.file.name}\0{one.record.checksum}\0{one.last - one.first}"
            for one in self.files
            if one.record
        ]
        return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())

    def name(self, document: int) -> str:
        """Return the name of a document."""
        texts = self.ids.texts(document, document + 1)
        return texts.data[texts.offsets[0] : texts.offsets[1]].tobytes().decode()


class FileReader:
    """Reads files one after the other into an intake.

    Parameters
    ----------
    found
        What there is to read.
    options
        How units are cut and described meanwhile; None for no units.
    checkpoint
        Where what was read is kept, and found, of a run that is stopped.
    """

    def __init__(
        self,
        found: Found,
        fields: Fields,
        options: Options | None,
        *,
        strict: bool,
        threads: int,
        scratch: Scratch,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._reference_files = len(found.reference)
        self._all = [*found.reference, *found.files]
        self._fields, self._strict = fields, strict
        # Dates and priorities are of any type, which a checkpoint does not keep.
        has_ranks = fields.date is not None or fields.priority is not None
        self._checkpoint = None if has_ranks else checkpoint
        self._sizes = [_size_of(file.path) for file in self._all]
        expected = sum(
            size * (_UNPACKED if file.compression else 1)
            for file, size in zip(self._all, self._sizes, strict=True)
        )
        buffer = TextBuffer(expected, scratch)
        lookout = Lookout(buffer, options, threads, scratch, expected) if options else None
        self._intake = Intake(buffer, TextBuffer(0, scratch), lookout, failures=found.failures)
        stop_if_strict(strict, found.failures)

    def read(self, progress: Progress) -> Intake:
        """Read all files.

        Raises
        ------
        InputError
            When something cannot be read and that is to end the run.
        """
        intake = self._intake
        try:
            with progress.stage("reading", sum(self._sizes), "bytes") as done:
                seen = self._load(done)
                for number in range(len(intake.files), len(self._all)):
                    if number == self._reference_files:
                        seen = set()
                    self._read_file(number, seen, done)
                    stop_if_strict(self._strict, intake.failures)
                    if self._checkpoint and self._checkpoint.is_due:
                        self._save()
        except KeyboardInterrupt:
            if self._checkpoint:
                self._save()
            raise
        finally:
            if intake.lookout and len(intake.files) < len(self._all):
                intake.lookout.close()
        read = intake.files[: self._reference_files]
        intake.reference_files = len(read)
        intake.reference_count = read[-1].last if read else 0
        return intake

    def _load(self, done: Done) -> set[str]:
        """Take what an earlier run had read; return the names that are taken."""
        intake = self._intake
        if self._checkpoint is None:
            return set()
        files = self._checkpoint.load_read(self._all)
        for names in self._checkpoint.load_texts("ids"):
            intake.ids.extend(names)
        for texts in self._checkpoint.load_texts("text"):
            intake.buffer.extend(texts)
            if intake.lookout:
                intake.lookout.look(len(intake.buffer))
        for one in files:
            intake.failures += one.failures
            done(one.size)
        intake.files += files
        count = len(intake.ids)
        first = 0
        if self._reference_files < len(files):
            first = files[self._reference_files].first
        return {intake.name(document) for document in range(first, count)}

    def _read_file(self, number: int, seen: set[str], done: Done) -> None:
        intake, file = self._intake, self._all[number]
        first = len(intake.buffer)
        failure_count = len(intake.failures)
        counted = 0

        def count(more: int) -> None:
            nonlocal counted
            counted += more
            done(more)

        status = _status_of(file.path)
        reader = formats.read_documents(file, self._fields, intake.failures, seen=seen, done=count)
        record = None
        try:
            for batch in reader:
                intake.buffer.append(batch.texts)
                intake.ids.append(name.encode() for name in batch.ids)
                if self._fields.date:
                    intake.dates += batch.dates
                if self._fields.priority:
                    intake.priorities += batch.priorities
                if intake.lookout:
                    intake.lookout.look(first)
            record = reader.record
        except formats.FileError:
            # The reader has listed it; what it gave so far does not count.
            self._forget(first)
        except BaseException:
            self._forget(first)
            raise
        done(self._sizes[number] - counted)
        last = len(intake.buffer)
        failures = tuple(intake.failures[failure_count:])
        intake.files.append(FileRead(file, record, first, last, failures, *status))

    def _forget(self, first: int) -> None:
        """Forget the documents from `first` on."""
        intake = self._intake
        if intake.lookout:
            intake.lookout.forget(first)
        for column in (intake.buffer, intake.ids):
            column.truncate(min(first, len(column)))
        for values in (intake.dates, intake.priorities):
            del values[first:]

    def _save(self) -> None:
        if self._checkpoint:
            intake = self._intake
            self._checkpoint.save_read(intake.files, intake.buffer.texts(), intake.ids.texts())


def find_input(
    paths: Sequence[str | CorpusFile],
    against: Sequence[str],
    include: Sequence[str],
    exclude: Sequence[str],
) -> Found:
    """Find what there is to read.

    Raises
    ------
    InputError
        When there is nothing.
    """
    unread: Counter[str] = Counter()
    reference, failures = formats.find_files(against)
    files, more = formats.find_files(paths, include, exclude, unread)
    found = Found(reference, files, failures + more, unread)
    if not files:
        names = [path if isinstance(path, str) else path.name for path in paths]
        raise InputError(_list_some(names, ", "), _blame(found, bool(include or exclude)))
    return found


def check_reference(found: Found, against: Sequence[str]) -> None:
    """Refuse a reference of which nothing can be read.

    Raises
    ------
    InputError
    """
    if against and not found.reference:
        reason = "no file of a format that is read"
        if found.failures:
            reason = f"nothing that can be read: {_list_some(found.failures)}"
        raise InputError(_list_some(against, ", "), reason)


def _blame(found: Found, has_globs: bool) -> str:
    """Say why there is nothing to read, the main reason first."""
    if found.failures and not found.unread:
        return f"nothing that can be read: {_list_some(found.failures)}"
    reason = "no file of a format that is read"
    if has_globs:
        reason += " is left by --include and --exclude"
    if found.unread:
        reason += f", {describe_unread(found.summarise_unread())}"
    return "; ".join([reason, *filter(None, [_list_some(found.failures)])])


def _list_some(things: Sequence[object], separator: str = "; ") -> str:
    shown = [str(thing) for thing in things[:_MOST_LISTED]]
    more = len(things) - len(shown)
    return separator.join(shown) + (f"{separator}and {more:,} more" if more else "")


def stop_if_strict(strict: bool, failures: Sequence[Failure]) -> None:
    """Raise the first failure, if any is to end the run.

    Raises
    ------
    InputError
    """
    if strict and failures:
        first = failures[0]
        raise formats.FileError(first.source, first.reason, first.line, first.byte)


def _size_of(path: Path) -> int:
    return _status_of(path)[0]


def _status_of(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file; zeros where it is gone, as reading will say."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
