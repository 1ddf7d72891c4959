"""Row groups of Parquet files: their texts, and the same rows changed.

A changed row keeps every other value; schema, metadata and codecs stay.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from dedup.columns import Positions
from dedup.documents import (
    CHANGED,
    DROPPED,
    UNCHANGED,
    Changes,
    CorpusFile,
    Fields,
    FileError,
    OtherDocumentsError,
    Row,
    import_extra,
)
from dedup.errors import OutputError
from dedup.streams import BLOCK_BYTES, OutputStream, describe

# Decoded rows held before they are written as a row group.
_GROUP_BYTES = 128 << 20
_GROUP_ROWS = 1 << 16


class _Table:
    """A Parquet file opened for reading."""

    def __init__(self, file: CorpusFile, fields: Fields) -> None:
        self._name = file.name
        self.arrow = import_extra(file.name, "pyarrow", "parquet")
        self.parquet = import_extra(file.name, "pyarrow.parquet", "parquet")
        self.file = self._guard(
            lambda: self.parquet.ParquetFile(file.path, page_checksum_verification=True)
        )
        self.schema = self.file.schema_arrow
        self.metadata = self.file.metadata
        self.text_column = self.schema.get_field_index(fields.text)
        if self.text_column < 0:
            shown = ", ".join(self.schema.names[:20]) or "nothing"
            raise FileError(file.name, f"no column {fields.text!r} among: {shown}")
        self.text_type = self.schema.field(self.text_column).type
        plain = getattr(self.text_type, "value_type", self.text_type)
        if str(plain) not in ("string", "large_string", "string_view"):
            raise FileError(
                file.name, f"column {fields.text!r} is {self.text_type}, expected string"
            )

    def close(self) -> None:
        self.file.close()

    def batches(self, group: int, columns: list[str] | None = None) -> Iterator[Any]:
        """Yield the rows of a row group, about 4 MB of them at a time."""
        facts = self.metadata.row_group(group)
        rows = facts.num_rows * BLOCK_BYTES // max(facts.total_byte_size, 1)
        size = max(1, min(rows, _GROUP_ROWS))
        found = self._guard(
            lambda: self.file.iter_batches(
                size, row_groups=[group], columns=columns, use_threads=False
            )
        )
        while (batch := self._guard(lambda: next(found, None))) is not None:
            yield batch

    def texts(self, batch: Any, column: int | str) -> list[bytes | None]:
        """Return the texts of a batch; what is not UTF-8 is among them."""
        pa = self.arrow
        plain = batch.column(column).cast(pa.large_string())
        found: list[bytes | None] = plain.cast(pa.large_binary()).to_pylist()
        return found

    def _guard(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except OSError as error:
            reason = describe(error) if error.errno else f"broken Parquet file: {error}"
            raise FileError(self._name, reason) from error
        except self.arrow.ArrowException as error:
            raise FileError(self._name, f"broken Parquet file: {error}") from error


def read_parquet_rows(file: CorpusFile, fields: Fields) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises
    ------
    FileError
        When it is broken, or has no such column of text.
    """
    table = _Table(file, fields)
    try:
        wanted = [fields.text, fields.id, fields.date, fields.priority]
        columns = [name for name in dict.fromkeys(wanted) if name and name in table.schema.names]
        number = 0
        for group in range(table.metadata.num_row_groups):
            for batch in table.batches(group, columns):
                empty = [None] * batch.num_rows
                ids, dates, priorities = (
                    batch.column(name).to_pylist() if name in columns else empty
                    for name in wanted[1:]
                )
                texts = table.texts(batch, fields.text)
                for text, name, date, priority in zip(texts, ids, dates, priorities, strict=True):
                    number += 1
                    yield _read_parquet_row(number, text, name, date, priority)
    finally:
        table.close()


def _read_parquet_row(
    number: int, text: bytes | None, name: object, date: object, priority: object
) -> Row:
    reason = None
    if text is None:
        reason = "no text"
    elif not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            reason = "not UTF-8"
    if type(name) is int:
        name = str(name)
    name = name if isinstance(name, str) else None
    return number, None, name, text or b"", date, priority, reason


def rewrite_parquet(
    file: CorpusFile,
    fields: Fields,
    changes: Changes,
    bad_rows: Sequence[int],
    output: OutputStream,
) -> None:
    """Write a Parquet file with some of its texts changed, row group by row group.

    Raises
    ------
    FileError
    OutputError
    OtherDocumentsError

    Notes
    -----
    Schema, metadata, columns and codecs stay; so do the borders of row groups,
    unless one is larger than 128 MiB in memory, which is written as several.
    """
    table = _Table(file, fields)
    try:
        writer = _open_writer(table, output)
        bad_numbers = np.array(bad_rows, np.int64)
        row_count = document = 0
        for group in range(table.metadata.num_row_groups):
            held: list[Any] = []
            for batch in table.batches(group):
                numbers = np.arange(row_count + 1, row_count + batch.num_rows + 1)
                good = np.flatnonzero(~np.isin(numbers, bad_numbers))
                held += _change_batch(table, batch, good, changes, document)
                row_count += batch.num_rows
                document += len(good)
                if sum(part.nbytes for part in held) >= _GROUP_BYTES:
                    _write_group(table, writer, held, output)
            _write_group(table, writer, held, output)
        if document != len(changes):
            raise OtherDocumentsError
        _write(writer.close, output)
    finally:
        table.close()


def _change_batch(
    table: _Table, batch: Any, good: Positions, changes: Changes, document: int
) -> list[Any]:
    """Return a batch with changes, of which its good rows have those from `document` on."""
    pa = table.arrow
    if document + len(good) > len(changes):
        raise OtherDocumentsError
    actions = np.full(batch.num_rows, UNCHANGED, np.uint8)
    actions[good] = changes.actions[document : document + len(good)]
    changed = np.flatnonzero(actions[good] == CHANGED)
    if len(changed):
        texts = table.texts(batch, table.text_column)
        for at in changed.tolist():
            texts[good[at]] = changes.text(document + at)
        column = pa.array(texts, pa.large_binary())
        # Through `view`, for `cast` refuses a row that is not UTF-8.
        column = column.view(pa.large_string()).cast(table.text_type)
        batch = batch.set_column(table.text_column, table.schema.field(table.text_column), column)
    kept = actions != DROPPED
    return [batch] if kept.all() else _drop_rows(pa, batch, kept.tolist())


def _drop_rows(pa: Any, batch: Any, kept: list[bool]) -> list[Any]:
    try:
        return [batch.filter(pa.array(kept))]
    except pa.ArrowNotImplementedError:
        # Columns of some types cannot be filtered (pyarrow 26: string_view),
        # but any can be sliced.
        runs = []
        start = 0
        for keep, run in groupby(kept):
            stop = start + sum(1 for _ in run)
            if keep:
                runs.append(batch.slice(start, stop - start))
            start = stop
        return runs


def _open_writer(table: _Table, output: OutputStream) -> Any:
    metadata = table.metadata
    codecs: dict[str, str] = {}
    types = set()
    if metadata.num_row_groups:
        group = metadata.row_group(0)
        for column in map(group.column, range(metadata.num_columns)):
            codec = column.compression.lower()
            codecs[column.path_in_schema] = "none" if codec == "uncompressed" else codec
            types.add(column.physical_type)
    return _write(
        lambda: table.parquet.ParquetWriter(
            str(output.path),
            table.schema,
            version="1.0" if metadata.format_version == "1.0" else "2.6",
            compression=codecs or "snappy",
            use_deprecated_int96_timestamps="INT96" in types,
            store_schema=b"ARROW:schema" in (metadata.metadata or {}),
        ),
        output,
    )


def _write_group(table: _Table, writer: Any, held: list[Any], output: OutputStream) -> None:
    whole = table.arrow.Table.from_batches(held, table.schema)
    held.clear()
    if whole.num_rows:
        _write(lambda: writer.write_table(whole, row_group_size=whole.num_rows), output)


def _write(step: Callable[[], Any], output: OutputStream) -> Any:
    try:
        return step()
    except OSError as error:
        raise OutputError(str(output.target), describe(error)) from error
