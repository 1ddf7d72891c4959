"""The spool: what comes on standard input, as a file of a corpus.

A corpus is read twice, so a stream has to stand in a file meanwhile.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

from dedup.documents import Compression, CorpusFile, FileError, Limits
from dedup.errors import InputError, OutputError
from dedup.progress import Done, Progress
from dedup.streams import BLOCK_BYTES, describe

StdinFormat = Literal["text", "jsonl", "csv", "parquet"]

_SUFFIXES: dict[StdinFormat, str] = {
    "text": "txt",
    "jsonl": "jsonl",
    "csv": "csv",
    "parquet": "parquet",
}

# How packed files begin. Three letters could begin a CSV file too, so bzip2
# goes by the mark of its first block, or of its end where there is no block.
_PACKED = re.compile(
    rb"(?P<gz>\x1f\x8b\x08)"
    rb"|(?P<zst>\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)"
    rb"|(?P<bz2>BZh[1-9](?:\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90))"
    rb"|(?P<xz>\xfd7zXZ\x00)"
)

_SOURCE = "standard input"

# Where Linux opens a file anew that has lost its name.
_OPEN_FILES = Path("/proc/self/fd")


@contextlib.contextmanager
def spool_stdin(
    format_: StdinFormat, folder: str | None, progress: Progress, limits: Limits | None = None
) -> Iterator[CorpusFile]:
    """Keep what comes on standard input in a file, while the block lasts.

    Parameters
    ----------
    format_
        How the text in it is stored. Whether it is packed shows in its first bytes.
    folder
        Where the file is made; the system's temporary folder unless given.
    progress
        Is told of bytes that came.
    limits
        What it may cost.

    Yields
    ------
    CorpusFile
        Named ``stdin`` with the endings of its format and compression.

    Raises
    ------
    InputError
        When nothing comes, or what cannot be read.
    OutputError
        When there is no room for it.

    Notes
    -----
    On Linux the file has no name from its beginning on, so that it goes with
    the process, however that ends. Elsewhere a process that is killed leaves
    it behind, under a name that the next run in that folder removes.
    """
    if sys.stdin is None:
        raise InputError(_SOURCE, "is closed")
    folder = folder or tempfile.gettempdir()
    with contextlib.ExitStack() as stack:
        try:
            handle, name = tempfile.mkstemp(prefix=".dedup-", dir=folder)
            path = Path(name)
            stack.callback(path.unlink, missing_ok=True)
            file = stack.enter_context(os.fdopen(handle, "wb", buffering=0))
            if (nameless := _OPEN_FILES / str(handle)).exists():
                path.unlink()
                path = nameless
        except OSError as error:
            raise _refused(folder, error) from error
        most_bytes = (limits or Limits()).unpacked_bytes
        with progress.stage("taking standard input", unit="bytes") as done:
            head = _fill(cast(BinaryIO, file), folder, done, most_bytes)
        found = _PACKED.match(head)
        compression = cast(Compression, found.lastgroup if found else "")
        if format_ == "parquet" and compression:
            raise InputError(_SOURCE, f"parquet is read unpacked only, but this is {compression}")
        endings = [_SUFFIXES[format_], *filter(None, [compression])]
        yield CorpusFile(path, ".".join(["stdin", *endings]), format_, compression)


def _fill(file: BinaryIO, folder: str, done: Done, most_bytes: int) -> bytes:
    """Write all that comes; return how it begins."""
    head = b""
    size = 0
    while block := _read_block():
        head = head or block[:16]
        size += len(block)
        if size > most_bytes:
            raise FileError(_SOURCE, f"has more than {most_bytes} bytes, the limit")
        done(len(block))
        try:
            # Without a buffer less may be written than is given.
            rest = memoryview(block)
            while len(rest):
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise _refused(folder, error) from error
    if not size:
        raise InputError(_SOURCE, "is empty")
    return head


def _read_block() -> bytes:
    try:
        return sys.stdin.buffer.read(BLOCK_BYTES)
    except (OSError, ValueError) as error:
        reason = describe(error) if isinstance(error, OSError) else "is closed"
        raise InputError(_SOURCE, reason) from error


def _refused(folder: str, error: OSError) -> OutputError:
    return OutputError(folder, f"no room for what comes on {_SOURCE}: {describe(error)}")
