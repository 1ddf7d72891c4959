"""Rows of JSON Lines files: their texts, and the same rows changed.

What is not changed is never written anew: a changed row keeps every byte but
those of its text.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from dedup.documents import CHANGED, DROPPED, UNCHANGED, Changes, Fields, OtherDocumentsError, Row
from dedup.kernels import kernel
from dedup.streams import BLOCK_BYTES, InputStream

_MARK = b"\xef\xbb\xbf"

# A string, or a sign that gives structure; numbers and words need no look.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],]', re.DOTALL)

_QUOTE, _BACKSLASH, _LINE_FEED = 34, 92, 10
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_SPACES, _QUOTES, _BACKSLASHES = (np.uint64(byte) * _ONES for byte in b' "\\')

# What stands behind the backslash of a byte in a JSON string, 0 where it needs
# none; most controls have no letter of their own.
_ESCAPES = np.zeros(256, np.uint8)
_ESCAPES[:32] = ord("u")
_ESCAPES[list(b'\b\t\n\f\r"\\')] = list(b'btnfr"\\')
# A byte becomes six at most: \u001f.
_ESCAPED_BYTES = 6


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
    changes: Changes,
    bad_rows: Sequence[int],
    write: Callable[[memoryview | bytes], None],
) -> None:
    """Write a JSON Lines file with some of its texts changed.

    Raises
    ------
    OtherDocumentsError
    """
    name = np.frombuffer(fields.text.encode(), np.uint8)
    bad_numbers = np.array(bad_rows, np.int64)
    out = np.empty(2 * BLOCK_BYTES, np.uint8)
    line_count = document = 0
    for block, _ in stream.lines():
        lines = np.frombuffer(block, np.uint8)
        at = 0
        while at < len(block):
            at, line_count, document, size, need = _rewrite_lines(
                lines,
                at,
                line_count,
                document,
                name,
                bad_numbers,
                changes.data,
                changes.actions,
                changes.starts,
                changes.stops,
                changes.offsets,
                out,
            )
            write(out[:size].data)
            if need > len(out):
                out = np.empty(need, np.uint8)
            elif at < len(block) and need == 0:
                if document == len(changes):
                    raise OtherDocumentsError
                stop = block.find(b"\n", at) + 1 or len(block)
                write(_replace_json_text(block[at:stop], fields.text, changes.text(document)))
                at, line_count, document = stop, line_count + 1, document + 1
    if document != len(changes):
        raise OtherDocumentsError


@kernel
def _rewrite_lines(
    block, at, line_count, document, name, bad_rows, data, actions, starts, stops, offsets, out
):
    # Goes on from `at` to the end of the block, or to a line that it leaves to
    # the caller (`need` is 0), or for which `out` has no room (`need` is what
    # the line may take: a bound, for what is not written to is no memory).
    size = 0
    bad = np.searchsorted(bad_rows, line_count + 1)
    while at < len(block):
        stop = min(_find_either(block, at, len(block), _LINE_FEED, _LINE_FEED) + 1, len(block))
        is_bad = bad < len(bad_rows) and bad_rows[bad] == line_count + 1
        is_document = not is_bad and not _is_blank(block, at, stop)
        if is_document and document == len(actions):
            return at, line_count, document, size, 0
        action = actions[document] if is_document else np.uint8(UNCHANGED)
        if action != DROPPED:
            need = stop - at
            if action == CHANGED:
                for k in range(offsets[document], offsets[document + 1]):
                    need += _ESCAPED_BYTES * (stops[k] - starts[k])
            if size + need > len(out):
                return at, line_count, document, size, need
            rest = at
            if action == CHANGED:
                first, last = _find_string(block, at, stop, name)
                if last < 0:
                    return at, line_count, document, size, 0
                size = _copy(block, at, first + 1, out, size)
                first_segment = offsets[document]
                last_segment = offsets[document + 1]
                is_plain = True
                for k in range(first_segment, last_segment):
                    is_plain = is_plain and _is_plain(data, starts[k], stops[k])
                # As the file does it: a line that had escapes for letters keeps to them.
                escapes_letters = not is_plain and _has_escaped_letters(block, first, last)
                for k in range(first_segment, last_segment):
                    if escapes_letters:
                        size = _write_ascii(data, starts[k], stops[k], out, size)
                    else:
                        size = _write_escaped(data, starts[k], stops[k], out, size)
                rest = last - 1
            size = _copy(block, rest, stop, out, size)
        document += is_document
        bad += is_bad
        line_count += 1
        at = stop
    return at, line_count, document, size, 0


@kernel
def _find_either(block, start, stop, one, other):
    # Eight bytes at a time: through strings with an escape every 40 bytes
    # 2.9 GB/s, byte by byte 1.3.
    ones = np.uint64(one) * _ONES
    others = np.uint64(other) * _ONES
    i = start
    while i + 8 <= stop:
        word = _load(block, i)
        found = (_mark_zeros(word ^ ones) | _mark_zeros(word ^ others)) & _HIGH_BITS
        if found:
            return i + _first_marked(found)
        i += 8
    while i < stop and block[i] != one and block[i] != other:
        i += 1
    return i


@kernel
def _load(block, start):
    # One instruction, once compiled; through a view as uint64 all was eight
    # times slower.
    part = block[start : start + 8]
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(part[k]) << np.uint64(8 * k)
    return word


@kernel
def _mark_zeros(word):
    # The lowest high bit that is set is that of the lowest byte that is zero.
    return (word - _ONES) & ~word


@kernel
def _first_marked(found):
    below = ((found - np.uint64(1)) & ~found) >> np.uint64(7) & _ONES
    return np.int64(below * _ONES >> np.uint64(56))


@kernel
def _is_blank(block, start, stop):
    # What `bytes.isspace` takes for space.
    i = start
    while i < stop and (block[i] == 32 or 9 <= block[i] <= 13):
        i += 1
    return i == stop


@kernel
def _is_ascii(data, start, stop):
    high = np.uint8(0)
    for byte in data[start:stop]:
        high |= byte
    return high < 128


@kernel
def _is_plain(data, start, stop):
    # Nothing that `json.dumps` escapes and `orjson.dumps` does not: DEL is one such.
    high = np.uint8(0)
    for byte in data[start:stop]:
        high |= byte | np.uint8(byte + np.uint8(1))
    return high < 128


@kernel
def _has_escaped_letters(block, start, stop):
    i = start
    while i < stop and not (block[i] == _BACKSLASH and block[i + 1] == 117):
        i += 1
    return i < stop and _is_ascii(block, start, stop)


@kernel
def _copy(block, start, stop, out, size):
    part = block[start:stop]
    into = out[size : size + stop - start]
    for i in range(len(part)):
        into[i] = part[i]
    return size + stop - start


@kernel
def _write_escaped(data, start, stop, out, size):
    # As `orjson.dumps` does it; eight bytes at a time up to one that needs an
    # escape, 1.6 times as fast as byte by byte.
    i = start
    while i < stop:
        if i + 8 <= stop:
            word = _load(data, i)
            into = out[size : size + 8]
            for k in range(8):
                into[k] = np.uint8(word >> np.uint64(8 * k))
            found = (
                (word - _SPACES) & ~word
                | _mark_zeros(word ^ _QUOTES)
                | _mark_zeros(word ^ _BACKSLASHES)
            ) & _HIGH_BITS
            if not found:
                i += 8
                size += 8
                continue
            clean = _first_marked(found)
            i += clean
            size += clean
        byte = data[i]
        escape = _ESCAPES[byte]
        if escape == 0:
            out[size] = byte
            size += 1
        elif escape == 117:
            size = _write_code(byte, out, size)
        else:
            out[size] = _BACKSLASH
            out[size + 1] = escape
            size += 2
        i += 1
    return size


@kernel
def _write_ascii(data, start, stop, out, size):
    # As `json.dumps` does it.
    i = start
    while i < stop:
        run = i
        while i < stop and data[i] < 127:
            i += 1
        size = _write_escaped(data, run, i, out, size)
        if i == stop:
            break
        byte = np.int64(data[i])
        width = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        code = byte if width == 1 else byte & (0x7F >> width)
        for k in range(1, width):
            code = code << 6 | data[i + k] & 0x3F
        if code >= 0x10000:
            size = _write_code(0xD800 + ((code - 0x10000) >> 10), out, size)
            code = 0xDC00 + (code & 0x3FF)
        size = _write_code(code, out, size)
        i += width
    return size


@kernel
def _write_code(code, out, size):
    out[size] = _BACKSLASH
    out[size + 1] = 117
    for k in range(4):
        digit = code >> (12 - 4 * k) & 15
        out[size + 2 + k] = digit + (48 if digit < 10 else 87)
    return size + 6


@kernel
def _find_string(block, start, stop, name):
    # What `_find_json_string` finds; -1 where a key with an escape in it has to
    # be decoded, or there is no such field.
    depth = 0
    is_key = False
    is_value = False
    first = -1
    last = -1
    i = start
    while i < stop:
        byte = block[i]
        if byte == _QUOTE:
            j = _find_either(block, i + 1, stop, _QUOTE, _BACKSLASH)
            escaped = False
            while j < stop and block[j] == _BACKSLASH:
                escaped = True
                j = _find_either(block, j + 2, stop, _QUOTE, _BACKSLASH)
            # A file that became another may have anything in it.
            if j >= stop:
                return -1, -1
            if depth == 1 and is_key:
                if escaped:
                    return -1, -1
                is_value = j - i - 1 == len(name)
                for k in range(len(name)):
                    is_value = is_value and block[i + 1 + k] == name[k]
                is_key = False
            elif depth == 1 and is_value:
                first = i
                last = j + 1
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
    return first, last


def _replace_json_text(line: bytes, key: str, text: bytes) -> bytes:
    """Put another string in the place of a field's, all else byte for byte."""
    start, stop = _find_json_string(line, key)
    new = orjson.dumps(text.decode())
    if line[start:stop].isascii() and b"\\u" in line[start:stop]:
        new = json.dumps(text.decode()).encode()
    return line[:start] + new + line[stop:]


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
        raise OtherDocumentsError
    return span
