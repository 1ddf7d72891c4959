"""Rows of JSON Lines and CSV files: their texts, and the same rows changed.

What is not changed is never written anew: a changed row keeps every byte but
those of its text.
"""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson

from dedup.documents import DROPPED, Change, CorpusFile, Fields, FileError, Row
from dedup.kernels import kernel
from dedup.streams import BLOCK_BYTES, InputStream

_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# A string, or a sign that gives structure; numbers and words need no look.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],]', re.DOTALL)

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


class FewerChangesError(ValueError):
    """There are more documents in the file than changes."""


def read_json_rows(stream: InputStream, fields: Fields) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file, blank lines apart."""
    number = 0
    start = 0
    for block, last in stream.lines():
        lines = block.split(b"\n")
        if not last:
            lines.pop()
        for line in lines:
            number += 1
            if line and not line.isspace():
                # A call for each row would cost a third where rows are short.
                try:
                    row = orjson.loads(line)
                    text = row[fields.text].encode()
                except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                    if number > 1 or not line.startswith(_MARK):
                        yield number, start, None, b"", None, None, _blame_json(line, fields)
                    else:
                        row, text, reason = _read_first_json(line[len(_MARK) :], fields)
                        yield number, start, *_pick(row, fields, text), reason
                else:
                    yield number, start, *_pick(row, fields, text), None
            start += len(line) + 1


def _read_first_json(line: bytes, fields: Fields) -> tuple[dict[str, Any], bytes, str | None]:
    """Read a row that stood behind a byte order mark."""
    try:
        row = orjson.loads(line)
        return row, row[fields.text].encode(), None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}, b"", _blame_json(line, fields)


def _pick(
    row: dict[str, Any], fields: Fields, text: bytes
) -> tuple[str | None, bytes, object | None, object | None]:
    """Return id, text, date and priority of a row."""
    name = row.get(fields.id)
    if type(name) is not str:
        name = str(name) if type(name) is int else None
    date = row.get(fields.date) if fields.date else None
    priority = row.get(fields.priority) if fields.priority else None
    return name, text, date, priority


def _blame_json(line: bytes, fields: Fields) -> str:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    if not isinstance(row, dict):
        return "not a JSON object"
    if fields.text not in row:
        return f"no field {fields.text!r}"
    return f"field {fields.text!r} is no string"


def rewrite_json(
    stream: InputStream,
    fields: Fields,
    changes: Iterator[Change],
    bad_rows: Collection[int],
    write: Callable[[bytes], None],
) -> None:
    """Write a JSON Lines file with some of its texts changed.

    Raises
    ------
    FewerChangesError
    """
    number = 0
    for block, last in stream.lines():
        lines = block.split(b"\n")
        if not last:
            lines.pop()
        out: list[bytes] = []
        for line in lines:
            number += 1
            if not line or line.isspace() or number in bad_rows:
                out.append(line)
                continue
            change = next(changes, FewerChangesError)
            if change is None:
                out.append(line)
            elif isinstance(change, bytes):
                out.append(_replace_json_text(line, fields.text, change))
            elif change is not DROPPED:
                raise FewerChangesError
        if out:
            write(b"\n".join(out) if last else b"\n".join(out) + b"\n")


def _replace_json_text(line: bytes, key: str, text: bytes) -> bytes:
    """Put another string in the place of a field's, all else byte for byte."""
    start, stop = _find_string(np.frombuffer(line, np.uint8), np.frombuffer(key.encode(), np.uint8))
    if stop < 0:
        start, stop = _find_json_string(line, key)
    new = orjson.dumps(text.decode())
    # As the file does it: a line that had escapes for letters keeps to them.
    if not new.isascii() and line[start:stop].isascii() and b"\\u" in line[start:stop]:
        new = json.dumps(text.decode()).encode()
    return line[:start] + new + line[stop:]


@kernel
def _find_string(line, name):
    # What `_find_json_string` finds, 25 times as fast; -1 where a key with an
    # escape in it has to be decoded, or there is no such field.
    depth = 0
    is_key = False
    is_value = False
    start = -1
    stop = -1
    i = 0
    while i < len(line):
        byte = line[i]
        if byte == 34:
            j = i + 1
            escaped = False
            while line[j] != 34:
                if line[j] == 92:
                    escaped = True
                    j += 1
                j += 1
            if depth == 1 and is_key:
                if escaped:
                    return -1, -1
                is_value = j - i - 1 == len(name)
                for k in range(len(name)):
                    is_value = is_value and line[i + 1 + k] == name[k]
                is_key = False
            elif depth == 1 and is_value:
                start = i
                stop = j + 1
            i = j
        elif byte == 123 or byte == 91:
            depth += 1
            is_key = depth == 1
        elif byte == 125 or byte == 93:
            depth -= 1
        elif byte == 44 and depth == 1:
            is_key = True
            is_value = False
        i += 1
    return start, stop


def _find_json_string(line: bytes, key: str) -> tuple[int, int]:
    """Return where the string of a field begins and ends, quotes included."""
    name = key.encode()
    depth = 0
    is_key = is_value = False
    span: tuple[int, int] | None = None
    for token in _JSON_TOKEN.finditer(line):
        start, stop = token.span()
        sign = line[start]
        if sign == 0x22:
            if depth != 1:
                continue
            if is_key:
                found = line[start + 1 : stop - 1]
                is_value = found == name or (b"\\" in found and orjson.loads(token[0]) == key)
                is_key = False
            elif is_value:
                # The last, as parsers do, of fields with the same name.
                span = start, stop
        elif sign in b"{[":
            depth += 1
            is_key = depth == 1
        elif sign in b"}]":
            depth -= 1
        elif depth == 1:
            is_key, is_value = True, False
    if span is None:
        raise FewerChangesError
    return span


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
    changes: Iterator[Change],
    bad_rows: Collection[int],
    write: Callable[[bytes], None],
) -> None:
    """Write a CSV file with some of its texts changed.

    Raises
    ------
    FileError
    FewerChangesError
    """
    rows = _CsvRows(file, stream, fields)
    text_column = rows.columns[fields.text]
    out = [rows.header]
    size = 0
    for row in rows:
        raw: bytes | None = row.raw
        if row.values and row.line not in bad_rows:
            change = next(changes, FewerChangesError)
            if isinstance(change, bytes):
                raw = _replace_csv_field(row, rows.delimiter, text_column, change)
            elif change is DROPPED:
                raw = None
            elif change is not None:
                raise FewerChangesError
        if raw is not None:
            out.append(raw)
            size += len(raw)
        if size >= BLOCK_BYTES:
            write(b"".join(out))
            out, size = [], 0
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
