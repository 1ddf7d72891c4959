"""Documents out of files of every format, and the files again with texts changed.

The way in and out of a corpus: `find_files`, `read_documents`, `rewrite_file`.
It decides nothing about what is a duplicate.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from dedup.csv_rows import read_csv_rows, rewrite_csv
from dedup.documents import (
    CHANGED,
    DROPPED,
    UNCHANGED,
    Batch,
    Changes,
    CorpusFile,
    Failure,
    Fields,
    FileError,
    FileRecord,
    Limits,
    OtherDocumentsError,
    Row,
)
from dedup.errors import InputError
from dedup.extracts import extract_text
from dedup.filelist import find_files, kind_of, output_name
from dedup.files import decode_source
from dedup.json_rows import read_json_rows, rewrite_json
from dedup.row_groups import read_parquet_rows, rewrite_parquet
from dedup.streams import InputStream, OutputStream

__all__ = [
    "CHANGED",
    "DROPPED",
    "UNCHANGED",
    "Batch",
    "Changes",
    "CorpusFile",
    "DocumentReader",
    "Failure",
    "Fields",
    "FileError",
    "FileRecord",
    "Limits",
    "find_files",
    "kind_of",
    "output_name",
    "read_documents",
    "rewrite_file",
]

_BATCH_BYTES = 1 << 20
_BATCH_DOCUMENTS = 1 << 16


class DocumentReader(Iterator[Batch]):
    """Batches of a file's documents, and what is known of the file after the last.

    See `read_documents`.
    """

    def __init__(
        self,
        file: CorpusFile,
        fields: Fields,
        failures: list[Failure],
        limits: Limits,
        seen: set[str],
        done: Callable[[int], None] | None,
    ) -> None:
        self._file = file
        self._fields = fields
        self._limits = limits
        self._failures = failures
        self._seen = seen
        self._done = done
        # Apart until the file is read to its end, so that it can be withdrawn.
        self._own_ids: set[str] = set()
        self._own_failures: list[Failure] = []
        self._failure_count = 0
        self._bad_rows: list[int] = []
        self._record: FileRecord | None = None
        self._batches = self._read()

    def __next__(self) -> Batch:
        return next(self._batches)

    @property
    def record(self) -> FileRecord:
        """What is known of the file, once all batches were taken.

        Raises
        ------
        RuntimeError
            Before that.
        """
        if self._record is None:
            raise RuntimeError(f"{self._file.name} is not read to its end")
        return self._record

    def _read(self) -> Iterator[Batch]:
        try:
            yield from self._read_file()
        except FileError as error:
            self._failures.append(error.failure)
            raise
        except InputError as error:
            failed = FileError(self._file.name, error.reason)
            self._failures.append(failed.failure)
            raise failed from error
        self._seen |= self._own_ids
        self._failures += self._own_failures
        if self._failure_count > len(self._own_failures):
            more = self._failure_count - len(self._own_failures)
            self._failures.append(Failure(self._file.name, f"{more} more such rows, not listed"))

    def _read_file(self) -> Iterator[Batch]:
        file = self._file
        stream = InputStream(file, self._limits, self._done)
        if file.format == "text":
            data = stream.read()
            source = decode_source(file.name, data)
            plain = source.encoding == "utf-8" and not source.mark and not source.note
            text = data if plain else source.text.encode()
            yield self._one(text)
            self._record = stream.record(
                document_count=1, encoding=source.to_mapping(), note=source.note
            )
        elif file.format in ("html", "pdf", "docx"):
            text = _extract(file, stream, self._limits)
            yield self._one(text)
            self._record = stream.record(document_count=1)
        else:
            count = 0
            for batch in self._batch_rows(_rows(file, stream, self._fields)):
                count += len(batch)
                yield batch
            self._record = stream.record(document_count=count, bad_rows=tuple(self._bad_rows))

    def _one(self, text: bytes) -> Batch:
        name = self._claim(self._file.name, 1, None)
        return Batch([name], [text], [None], [None])

    def _batch_rows(self, rows: Iterator[Row]) -> Iterator[Batch]:
        own, seen = self._own_ids, self._seen
        batch = Batch()
        size = 0
        total = 0
        for line, byte, name, text, date, priority, reason in rows:
            if reason is not None:
                self._bad_rows.append(line)
                self._fail(reason, line, byte)
                continue
            if name and name not in own and name not in seen:
                own.add(name)
            else:
                name = self._claim(name, line, byte)
            batch.ids.append(name)
            batch.texts.append(text)
            batch.dates.append(date)
            batch.priorities.append(priority)
            size += len(text)
            if size >= _BATCH_BYTES or len(batch.ids) >= _BATCH_DOCUMENTS:
                total += size
                # Parquet packs inside, where the stream does not see it.
                if total > self._limits.unpacked_bytes:
                    raise FileError(
                        self._file.name,
                        f"unpacks to more than {self._limits.unpacked_bytes} bytes, the limit",
                    )
                yield batch
                batch = Batch()
                size = 0
        if batch.ids:
            yield batch

    def _claim(self, name: str | None, line: int, byte: int | None) -> str:
        """Return a name for a document that no other has."""
        own = self._own_ids
        if name and name not in own and name not in self._seen:
            own.add(name)
            return name
        place = f"{self._file.name}:{line}"
        while place in own or place in self._seen:
            place += "+"
        if name:
            self._fail(f"id {name!r} is taken; the document is named {place}", line, byte)
        own.add(place)
        return place

    def _fail(self, reason: str, line: int, byte: int | None) -> None:
        self._failure_count += 1
        if len(self._own_failures) < self._limits.bad_rows:
            self._own_failures.append(Failure(self._file.name, reason, line, byte))


def read_documents(
    file: CorpusFile,
    fields: Fields,
    failures: list[Failure],
    limits: Limits | None = None,
    seen: set[str] | None = None,
    done: Callable[[int], None] | None = None,
) -> DocumentReader:
    """Read the documents of a file, in batches of about 1 MB of text.

    Parameters
    ----------
    file
        One that `find_files` found.
    fields
        Where a row has its id and its text.
    failures
        What could not be read is added here: bad rows once the file was read
        to its end; of a file that fails as a whole, one failure and no other.
    limits
        What it may cost.
    seen
        Ids that are taken. Those of this file are added once it was read to
        its end. A row whose id is taken is named by file and line instead,
        and listed.
    done
        Is told of bytes of the file that were read.

    Returns
    -------
    DocumentReader
        An iterator; after its last batch, `DocumentReader.record` has the
        checksum and what `rewrite_file` wants to know.

    Raises
    ------
    FileError
        While iterating, perhaps after some batches: the file is broken, cut
        short, over a limit, or a library is missing. Then the batches it gave
        do not count, and the caller must forget them.
    """
    return DocumentReader(
        file, fields, failures, limits or Limits(), set() if seen is None else seen, done
    )


def _rows(file: CorpusFile, stream: InputStream, fields: Fields) -> Iterator[Row]:
    if file.format == "jsonl":
        return read_json_rows(stream, fields)
    if file.format == "csv":
        return read_csv_rows(file, stream, fields)
    # Parquet is read from its end and in no order, so the checksum comes first.
    for _ in stream.blocks():
        pass
    return read_parquet_rows(file, fields)


def _extract(file: CorpusFile, stream: InputStream, limits: Limits) -> bytes:
    # Surrogates without a partner come out of broken fonts.
    return extract_text(file, stream.read(), limits).encode("utf-8", "replace")


def rewrite_file(
    file: CorpusFile,
    fields: Fields,
    target: Path,
    changes: Changes,
    record: FileRecord | None = None,
    limits: Limits | None = None,
    done: Callable[[int], None] | None = None,
) -> None:
    """Write a file's cleaned mirror, whole or not at all.

    Parameters
    ----------
    file, fields, limits
        As given to `read_documents`.
    target
        Where it goes; see `output_name`. Folders on the way are made.
    changes
        What becomes of each document that `read_documents` gave, in that
        order. One that is UNCHANGED keeps its bytes, one that is DROPPED is
        left out; of a file that is one document, nothing is written then.
    record
        What `read_documents` found; without it the file is read once more.
    done
        Is told of bytes of the file that were read again.

    Raises
    ------
    FileError
        When the file is not the one that was read.
    OutputError
        When the target cannot be written.
    ValueError
        When there are not as many changes as documents, or the record is of
        other fields.

    Notes
    -----
    Bad rows and blank lines pass through. Where nothing changes, the target
    is the file, byte for byte, packed or not. Output is the same everywhere
    for the same versions of the libraries that pack.
    """
    limits = limits or Limits()
    if record is None:
        reader = read_documents(file, fields, [], limits)
        for _ in reader:
            pass
        record = reader.record
    if len(changes) != record.document_count:
        raise ValueError(
            f"{file.name}: not as many changes as documents: "
            f"{len(changes)} for {record.document_count}"
        )
    try:
        _rewrite(file, fields, target, changes, record, limits, done)
    except (FileError, OtherDocumentsError) as error:
        # Whatever went wrong: if it is another file, that is why.
        _check_same(file, record)
        if isinstance(error, OtherDocumentsError):
            raise ValueError(f"{file.name}: its record is of other documents") from error
        raise


def _rewrite(
    file: CorpusFile,
    fields: Fields,
    target: Path,
    changes: Changes,
    record: FileRecord,
    limits: Limits,
    done: Callable[[int], None] | None,
) -> None:
    stream = InputStream(file, limits, done)
    is_extracted = file.format in ("html", "pdf", "docx")
    if not is_extracted and (changes.actions == UNCHANGED).all():
        _copy(file, target, record, done)
        return
    if is_extracted or file.format == "text":
        action = changes.actions[0]
        if action == DROPPED:
            return
        text = changes.text(0) if action == CHANGED else None
        data = _new_bytes(file, stream, text, limits)
        _check_same(file, record, stream)
        with OutputStream(target, file.compression) as output:
            output.write(data)
        return
    with OutputStream(target, file.compression) as output:
        if file.format == "jsonl":
            rewrite_json(stream, fields, changes, record.bad_rows, output.write)
        elif file.format == "csv":
            rewrite_csv(file, stream, fields, changes, record.bad_rows, output.write)
        else:
            rewrite_parquet(file, fields, changes, record.bad_rows, output)
            for _ in stream.blocks():
                pass
        _check_same(file, record, stream)


def _new_bytes(file: CorpusFile, stream: InputStream, text: bytes | None, limits: Limits) -> bytes:
    if text is None:
        return _extract(file, stream, limits)
    data = stream.read()
    if file.format != "text":
        return text
    return decode_source(file.name, data).encode(text.decode())


def _copy(
    file: CorpusFile, target: Path, record: FileRecord, done: Callable[[int], None] | None
) -> None:
    raw = CorpusFile(file.path, file.name, file.format)
    stream = InputStream(raw, Limits(unpacked_bytes=record.byte_count), done)
    with OutputStream(target) as output:
        for block in stream.blocks():
            output.write(block)
        _check_same(file, record, stream)


def _check_same(file: CorpusFile, record: FileRecord, stream: InputStream | None = None) -> None:
    if stream is None:
        stream = InputStream(CorpusFile(file.path, file.name, file.format), Limits())
        for _ in stream.blocks():
            pass
    found = stream.record()
    if (found.checksum, found.byte_count) != (record.checksum, record.byte_count):
        raise FileError(file.name, "changed while it was read")
