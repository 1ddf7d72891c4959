"""What passes between files and the engine: files found, documents, failures.

And the check of documents that come without files. This module opens nothing and
parses nothing.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Positions, Texts
from dedup.errors import InputError, TextError

Format = Literal["text", "html", "pdf", "docx", "jsonl", "csv", "parquet"]
Compression = Literal["", "gz", "zst", "bz2", "xz"]


@dataclass(frozen=True)
class CorpusFile:
    """A file to be read.

    Attributes
    ----------
    path
        Where it is.
    name
        What the map calls it: its POSIX path relative to the folder given, or
        its own name when it was given itself.
    format
        How its text is stored.
    compression
        How its bytes are packed, or nothing.
    """

    path: Path
    name: str
    format: Format
    compression: Compression = ""


@dataclass(frozen=True)
class Failure:
    """Something that could not be read; the run goes on without it.

    Attributes
    ----------
    source
        Name of the file, or the path that was given.
    reason
        What is wrong there.
    line
        Line (row in Parquet) from 1, or None when it is the whole file.
    byte
        Offset in the unpacked file where that line begins, where there is one.
    """

    source: str
    reason: str
    line: int | None = None
    byte: int | None = None

    def __str__(self) -> str:
        place = self.source
        if self.line is not None:
            place += f", line {self.line}"
        if self.byte is not None:
            place += f", byte {self.byte}"
        # A reason may quote what stands in the file.
        return " ".join(f"{place}: {self.reason}".splitlines())

    def to_mapping(self) -> dict[str, Any]:
        """Return what the summary says of it."""
        found = {"source": self.source, "reason": self.reason}
        place = {"line": self.line, "byte": self.byte}
        return found | {name: value for name, value in place.items() if value is not None}


class FileError(InputError):
    """A whole file cannot be used; documents already taken from it do not count.

    Attributes
    ----------
    failure
        The same as one entry of the list of failures.
    """

    def __init__(
        self, source: str, reason: str, line: int | None = None, byte: int | None = None
    ) -> None:
        self.failure = Failure(source, reason, line, byte)
        super().__init__(source, reason)

    def __str__(self) -> str:
        return str(self.failure)


@dataclass(frozen=True)
class Fields:
    """Names of the fields, or columns, of a row.

    Attributes
    ----------
    id
        Names the document.
    text
        Its text.
    date, priority
        What a keep policy looks at, if one does.
    """

    id: str = "id"
    text: str = "text"
    date: str | None = None
    priority: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a file may cost before it is refused.

    Attributes
    ----------
    unpacked_bytes
        Most that it may unpack to.
    ratio
        Most bytes that one packed byte may become ...
    ratio_from_bytes
        ... once that many are unpacked.
    bad_rows
        Bad rows of a file that are listed one by one; one more entry counts
        the rest.
    """

    unpacked_bytes: int = 64 << 30
    ratio: int = 1000
    ratio_from_bytes: int = 64 << 20
    bad_rows: int = 1000


@dataclass
class Batch:
    """Documents read from a file, one entry each in every list.

    Attributes
    ----------
    ids
        Names, each once in a run.
    texts
        Valid UTF-8.
    dates, priorities
        The fields of those names as the file has them, or None.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    dates: list[object | None] = field(default_factory=list)
    priorities: list[object | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class FileRecord:
    """What is known of a file once it was read to its end.

    Attributes
    ----------
    checksum
        xxh3_64 of the raw file, 16 hexadecimal digits.
    byte_count
        Size of the raw file.
    document_count
        Documents that were read from it.
    bad_rows
        Lines (rows in Parquet), rising, that hold no document and pass
        through as they are. Blank lines are not among them.
    encoding
        What the map says of a text file that is not plain UTF-8.
    note
        What the user should know of the reading, or nothing.
    """

    checksum: str
    byte_count: int
    document_count: int = 0
    bad_rows: tuple[int, ...] = ()
    encoding: dict[str, Any] = field(default_factory=dict)
    note: str = ""


# What becomes of a document.
UNCHANGED: Final = 0
CHANGED: Final = 1
DROPPED: Final = 2


@dataclass(frozen=True)
class Changes:
    """What becomes of the documents of a file.

    Attributes
    ----------
    data
        uint8[byte_count], UTF-8 that new texts are made of.
    actions
        uint8[document_count], UNCHANGED, CHANGED or DROPPED.
    starts, stops
        int64[segment_count], spans of `data`.
    offsets
        int64[document_count + 1], rising: the new text of a changed document
        `i` is the segments from ``offsets[i]`` to ``offsets[i + 1]``, one after
        the other. The first may be above 0, for these may be the documents of
        one file among many.

    Examples
    --------
    >>> changes = Changes.from_list([UNCHANGED, b"new", DROPPED])
    >>> changes.actions.tolist(), changes.text(1)
    ([0, 1, 2], b'new')
    """

    data: Bytes
    actions: NDArray[np.uint8]
    starts: Positions
    stops: Positions
    offsets: Positions

    def __len__(self) -> int:
        return len(self.actions)

    @classmethod
    def from_list(cls, changes: Sequence[int | bytes]) -> "Changes":
        """Take UNCHANGED, DROPPED or a new text for each document."""
        parts = [change if isinstance(change, bytes) else b"" for change in changes]
        texts = Texts.from_bytes(parts)
        actions = [CHANGED if isinstance(change, bytes) else change for change in changes]
        return cls(
            texts.data,
            np.array(actions, np.uint8),
            texts.offsets[:-1],
            texts.offsets[1:],
            np.arange(len(changes) + 1),
        )

    def text(self, document: int) -> bytes:
        """Return the new text of a changed document."""
        segments = slice(self.offsets[document], self.offsets[document + 1])
        spans = zip(self.starts[segments].tolist(), self.stops[segments].tolist(), strict=True)
        return b"".join(self.data[start:stop].tobytes() for start, stop in spans)


class OtherDocumentsError(ValueError):
    """The rows of a file hold other documents than its record says."""


# What a reader finds of one row: line, byte, id, text, date, priority, and the
# reason why it is no document. A plain tuple: a named one costs a third more.
Row = tuple[int, int | None, str | None, bytes, object | None, object | None, str | None]


def import_extra(source: str, module: str, extra: str) -> Any:
    """Import a library that comes with an extra.

    Raises
    ------
    FileError
        When it is not installed; it names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = module.split(".")[0]
        raise FileError(
            source, f"needs {missing}, which is not installed: pip install 'dedup[{extra}]'"
        ) from error


def check_documents(documents: Iterable[object]) -> tuple[list[str], Texts]:
    """Take ids and texts apart; refuse what is neither, and ids that stand twice.

    Raises
    ------
    InputError
        When a document is no pair of texts, or two have one id; `TextError` when
        a text holds a lone surrogate. It names the document.
    """
    texts: dict[str, bytes] = {}
    for item in documents:
        if not isinstance(item, tuple) or len(item) != 2:
            raise InputError("documents", f"pairs of id and text are wanted, not {_kind(item)}")
        name, text = item
        if not isinstance(name, str):
            raise InputError("documents", f"an id has to be text, not {_kind(name)}")
        if not isinstance(text, str):
            raise InputError(name, f"a text is wanted, not {_kind(text)}")
        if name in texts:
            raise InputError(name, "two documents have this id")
        _encode(name, name)
        texts[name] = _encode(name, text)
    return list(texts), Texts.from_bytes(list(texts.values()))


def _kind(value: object) -> str:
    return type(value).__name__


def _encode(document: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        reason = f"lone surrogate U+{ord(text[error.start]):04X}"
        raise TextError(document, reason, error.start) from None
