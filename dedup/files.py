"""Text files in and out: encodings, checksums, whole writes.

The only module that opens the user's files. It decides nothing about what is
a duplicate.
"""

import codecs
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dedup.errors import EncodingError, InputError, MapError, OutputError

# What stands for standard input.
STDIN = "-"

_BYTE_ORDER_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Encodings of seven bits, which are valid UTF-8 but unreadable as such, by a
# byte sequence that every text in them has.
_SEVEN_BIT_SIGNS = (b"\x1b$", b"~{")
_SEVEN_BIT_ENCODINGS = ("iso-2022-jp", "iso-2022-kr", "hz-gb-2312")

# Below this chardet's word is worth less than a guess: it takes a short
# Latin-1 text for Greek (0.11). The lowest right answer seen is 0.43.
_LEAST_CONFIDENCE = 0.3
_FALLBACK_ENCODING = "cp1252"


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes
    ----------
    name
        What the map calls it: the file's name, or ``-``.
    text
        Its text, without a byte order mark.
    encoding
        Of the file.
    mark
        The byte order mark it begins with, or nothing.
    note
        What the user should know of the reading, or nothing.
    """

    name: str
    text: str
    encoding: str = "utf-8"
    mark: bytes = b""
    note: str = ""

    def encode(self, text: str) -> bytes:
        """Encode text as the file was, byte order mark included."""
        return self.mark + text.encode(self.encoding)

    def to_mapping(self) -> dict[str, Any]:
        """Return what the map says of the file, where it is not plain UTF-8."""
        if self.encoding == "utf-8" and not self.mark:
            return {}
        return {"encoding": self.encoding, "byte_order_mark": bool(self.mark)}


def read_source(path: str) -> Source:
    """Read a text file, or standard input for ``-``.

    Bytes that are not UTF-8 are decoded by the encoding that is detected;
    `Source.note` then names it.

    Raises
    ------
    InputError
        When the file cannot be read.
    EncodingError
        When it is not text in any encoding; it names the first byte that is
        not UTF-8.
    """
    return decode_source(shown_name(path), _read_bytes(path), path)


def read_cleaned(path: str, record: Mapping[str, Any], map_name: str) -> Source:
    """Read a cleaned text in the encoding that the record of its map names.

    Raises
    ------
    InputError
        When the file cannot be read.
    MapError
        When it is not in that encoding, so not the text the map belongs to.
    """
    return decode_cleaned(path, _read_bytes(path), record, map_name)


def decode_cleaned(path: str, data: bytes, record: Mapping[str, Any], map_name: str) -> Source:
    """Decode the bytes of a cleaned text; see `read_cleaned`."""
    encoding = str(record.get("encoding", "utf-8"))
    mark = b""
    if record.get("byte_order_mark"):
        mark = next((mark for mark, name in _BYTE_ORDER_MARKS if name == encoding), b"")
    try:
        if not data.startswith(mark):
            raise MapError(map_name, f"{path} has lost its byte order mark")
        return Source(path, data[len(mark) :].decode(encoding), encoding, mark)
    except (UnicodeDecodeError, LookupError) as error:
        raise MapError(map_name, f"{path} is not {encoding} text: {error}") from error


def _read_bytes(path: str) -> bytes:
    if path == STDIN:
        if sys.stdin is None:
            raise InputError("standard input", "is closed")
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, _reason(error)) from error


def shown_name(path: str) -> str:
    """Return what the map calls a file: its name, as far as it is Unicode."""
    name = path if path == STDIN else Path(path).name
    return os.fsencode(name).decode(errors="replace")


def decode_source(name: str, data: bytes, path: str | None = None) -> Source:
    """Decode the bytes of a file; see `read_source`."""
    path = path or name
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return Source(name, data[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError as error:
                byte = error.start + len(mark)
                raise EncodingError(path, f"marked as {encoding} but is not", byte) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return _decode_legacy(name, path, data, error.start)
    if any(sign in data for sign in _SEVEN_BIT_SIGNS):
        detected, _ = _detect(data)
        encoding = detected or ""
        if encoding in _SEVEN_BIT_ENCODINGS:
            with contextlib.suppress(UnicodeDecodeError):
                return _legacy_source(name, path, data, encoding, data.decode(encoding))
    return Source(name, text)


def _decode_legacy(name: str, path: str, data: bytes, byte: int) -> Source:
    encoding, confidence = _detect(data)
    if encoding and confidence < _LEAST_CONFIDENCE:
        encoding = _FALLBACK_ENCODING
    if encoding:
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            pass
        else:
            return _legacy_source(name, path, data, encoding, text)
    raise EncodingError(path, "not UTF-8, and no other encoding fits,", byte)


def _legacy_source(name: str, path: str, data: bytes, encoding: str, text: str) -> Source:
    try:
        same = text.encode(encoding) == data
    except UnicodeEncodeError:
        same = False
    if same:
        return Source(
            name, text, encoding, note=f"{path}: not UTF-8, read and written as {encoding}"
        )
    return Source(name, text, note=f"{path}: not UTF-8, read as {encoding}, written as utf-8")


def _detect(data: bytes) -> tuple[str | None, float]:
    # chardet 7, for charset-normalizer 3.5 gave no answer to GB18030.
    import chardet

    found = chardet.detect(data)
    encoding = found["encoding"]
    return (encoding.lower() if encoding else None), found["confidence"]


def write_whole(path: str, data: bytes) -> None:
    """Write a file whole or not at all; see `write_parts`."""
    write_parts(path, [data])


def write_parts(path: str, parts: Iterable[bytes]) -> None:
    """Write a file whole or not at all.

    The bytes go into a new file beside it, which then takes its place; what
    stood there keeps its permissions.

    Raises
    ------
    OutputError
        When it cannot be written; what stood there still does.
    """
    target = Path(path)
    temporary = ""
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "is a folder")
        # A pipe or a device is written to; there is nothing to replace.
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                file.writelines(parts)
            return
        target = target.resolve()
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(prefix=".dedup-", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise OutputError(path, _reason(error)) from error


def make_folder(path: str) -> None:
    """Make a folder and those above it, where they are not there.

    Raises
    ------
    OutputError
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(path, _reason(error)) from error


def check_apart(out: str, map_file: str) -> None:
    """Refuse to write the text and the map to one file, however it is spelled.

    Raises
    ------
    OutputError
    """
    same = Path(out).resolve() == Path(map_file).resolve()
    with contextlib.suppress(OSError):
        same = same or (Path(out).is_file() and Path(out).samefile(map_file))
    if same:
        raise OutputError(out, "cannot take both the text and the map")


def check_target(target: str, sources: list[str], overwrite: bool = False) -> None:
    """Refuse to write over a file that is read from, unless asked to.

    Raises
    ------
    OutputError
    """
    for source in sources:
        if overwrite or source == STDIN:
            continue
        with contextlib.suppress(OSError):
            if Path(target).samefile(source):
                raise OutputError(target, "is the input itself; pass --overwrite to replace it")


def read_map(path: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Read a map: number and object of each line.

    Raises
    ------
    InputError
        When the file cannot be read.
    MapError
        When a line is no JSON object; it names the line.
    """
    try:
        with Path(path).open("rb") as file:
            yield from _map_lines(path, file)
    except OSError as error:
        raise InputError(path, _reason(error)) from error


def _map_lines(path: str, file: BinaryIO) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
        except orjson.JSONDecodeError as error:
            raise MapError(path, f"not JSON: {error}", number) from None
        if not isinstance(row, dict):
            raise MapError(path, "not a JSON object", number)
        yield number, row


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
