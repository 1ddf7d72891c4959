"""Rows of CSV files: their texts, and the same rows changed.

What is not changed is never written anew: a changed row keeps every byte but
those of its text.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dedup.documents import (
    CHANGED,
    DROPPED,
    Changes,
    CorpusFile,
    Fields,
    FileError,
    OtherDocumentsError,
    Row,
)
from dedup.streams import BLOCK_BYTES, InputStream

_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_DELIMITERS = ",\t;|"
_CSV_FIELD = {
    sign: re.compile(
        rb'"(?:[^"]++|"")*+"?[^%(sign)b\r\n]*+|[^%(sign)b\r\n]*+'
        % {b"sign": re.escape(sign.encode())}
    )
    for sign in _DELIMITERS
}
# The module's own is 131072; more does not fit into a C long everywhere.
_CSV_FIELD_CHARS = 2**31 - 1


class _CsvRow(NamedTuple):
    line: int
    byte: int
    raw: bytes
    values: list[str]
    reason: str | None


class _CsvRows:
    """The rows of a CSV file with the bytes each was read from."""

    def __init__(self, file: CorpusFile, stream: InputStream, fields: Fields) -> None:
        csv.field_size_limit(_CSV_FIELD_CHARS)
        self._pending: list[bytes] = []
        self._raw_lines = self._split(stream)
        first = next(self._raw_lines, b"")
        if first.startswith(_UTF16_MARKS):
            raise FileError(file.name, "is UTF-16; CSV files are read as UTF-8")
        self._mark = _MARK if first.startswith(_MARK) else b""
        self._head = first[len(self._mark) :]
        self.delimiter = self._find_delimiter(fields.text)
        self._rows = csv.reader(self._feed(), delimiter=self.delimiter)
        self._line = 1
        self._byte = len(self._mark)
        header = next(iter(self), None)
        names = [name.strip() for name in header.values] if header else []
        if not header or fields.text not in names:
            shown = ", ".join(names[:20]) or "nothing"
            raise FileError(
                file.name, f"no column {fields.text!r} in the header, which has: {shown}", 1
            )
        self.header = self._mark + header.raw
        self.columns = {name: names.index(name) for name in reversed(names)}

    def __iter__(self) -> Iterator[_CsvRow]:
        while True:
            values: list[str] = []
            reason = None
            try:
                values = next(self._rows)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"not CSV: {error}"
            raw = b"".join(self._pending)
            line, byte = self._line, self._byte
            self._line += len(self._pending)
            self._byte += len(raw)
            self._pending.clear()
            yield _CsvRow(line, byte, raw, values, reason)

    @staticmethod
    def _split(stream: InputStream) -> Iterator[bytes]:
        for block, last in stream.lines():
            lines = block.split(b"\n")
            if not last:
                lines.pop()
            yield from (line + b"\n" for line in lines[:-1])
            yield lines[-1] if last else lines[-1] + b"\n"

    def _feed(self) -> Iterator[str]:
        line = self._head
        while line:
            self._pending.append(line)
            yield line.decode("utf-8", "surrogateescape")
            line = next(self._raw_lines, b"")

    def _find_delimiter(self, text: str) -> str:
        head = self._head.decode("utf-8", "replace")
        for delimiter in _DELIMITERS:
            names = next(csv.reader([head], delimiter=delimiter), [])
            if text in (name.strip() for name in names):
                return delimiter
        return ","


def read_csv_rows(file: CorpusFile, stream: InputStream, fields: Fields) -> Iterator[Row]:
    """Yield the rows of a CSV file, header and blank lines apart.

    Raises
    ------
    FileError
        When its header does not name the column of the text.
    """
    rows = _CsvRows(file, stream, fields)
    text_column = rows.columns[fields.text]

    def value(row: _CsvRow, name: str | None) -> str | None:
        column = rows.columns.get(name, len(row.values)) if name else len(row.values)
        return row.values[column] if column < len(row.values) else None

    for row in rows:
        reason = row.reason
        text = b""
        name = value(row, fields.id)
        if reason is None and not row.values:
            continue
        if reason is None and len(row.values) <= text_column:
            reason = f"has {len(row.values)} fields, the text is the field {text_column + 1}"
        if reason is None:
            try:
                text = row.values[text_column].encode()
                (name or "").encode()
            except UnicodeEncodeError:
                reason = "not UTF-8"
        date, priority = value(row, fields.date), value(row, fields.priority)
        yield row.line, row.byte, name, text, date, priority, reason


def rewrite_csv(
    file: CorpusFile,
    stream: InputStream,
    fields: Fields,
    changes: Changes,
    bad_rows: Sequence[int],
    write: Callable[[bytes], None],
) -> None:
    """Write a CSV file with some of its texts changed.

    Raises
    ------
    FileError
    OtherDocumentsError
    """
    rows = _CsvRows(file, stream, fields)
    actions = changes.actions.tolist()
    bad_lines = frozenset(bad_rows)
    document = 0
    text_column = rows.columns[fields.text]
    out = [rows.header]
    size = 0
    for row in rows:
        raw: bytes | None = row.raw
        if row.values and row.line not in bad_lines:
            if document == len(changes):
                raise OtherDocumentsError
            if actions[document] == CHANGED:
                text = changes.text(document)
                raw = _replace_csv_field(row, rows.delimiter, text_column, text)
            elif actions[document] == DROPPED:
                raw = None
            document += 1
        if raw is not None:
            out.append(raw)
            size += len(raw)
        if size >= BLOCK_BYTES:
            write(b"".join(out))
            out, size = [], 0
    if document != len(changes):
        raise OtherDocumentsError
    write(b"".join(out))


def _replace_csv_field(row: _CsvRow, delimiter: str, column: int, text: bytes) -> bytes:
    """Put another value in the place of a field's, all else byte for byte."""
    raw = row.raw
    field = _CSV_FIELD[delimiter]
    start = 0
    for _ in range(column):
        found = field.match(raw, start)
        start = found.end() + 1 if found else start
    found = field.match(raw, start)
    stop = found.end() if found else start
    must_quote = any(sign in text for sign in (b'"', b"\r", b"\n", delimiter.encode()))
    # A line with nothing on it would be no row.
    if must_quote or raw[start : start + 1] == b'"' or (not text and len(row.values) == 1):
        text = b'"' + text.replace(b'"', b'""') + b'"'
    return raw[:start] + text + raw[stop:]
