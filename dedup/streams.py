"""Byte streams in and out: packed files, checksums, limits, whole writes.

Knows bytes alone; what they mean is for `rows` and `extracts`.
"""

import bz2
import contextlib
import gzip
import importlib
import lzma
import os
import secrets
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import xxhash

from dedup.documents import CorpusFile, FileError, FileRecord, Limits
from dedup.errors import OutputError

BLOCK_BYTES = 4 << 20

# Fed to a Zstandard decompressor at once: it cannot be told how much to
# return, and a packed byte may become 32768.
_ZST_PIECE_BYTES = 2 << 10

# An xz file may ask for a dictionary of 4 GiB; `xz -9` asks for 64 MiB.
_XZ_MEMORY_BYTES = 512 << 20


class InputStream:
    """A file's unpacked bytes, block by block, with the checksum of the raw file.

    Parameters
    ----------
    done
        Is told of raw bytes that were read.

    Raises
    ------
    FileError
        From `blocks` and `read`: when the file cannot be read, is broken or
        cut short, is over a limit, or changed while it was read.
    """

    def __init__(
        self, file: CorpusFile, limits: Limits, done: Callable[[int], None] | None = None
    ) -> None:
        self._file = file
        self._limits = limits
        self._done = done
        self._hash = xxhash.xxh3_64()
        self._raw_bytes = 0
        self._unpacked_bytes = 0

    def record(self, **facts: Any) -> FileRecord:
        """Return what is known of the file; right once all blocks were taken."""
        return FileRecord(self._hash.hexdigest(), self._raw_bytes, **facts)

    def read(self) -> bytes:
        """Return all that is in the file."""
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes in blocks of about 4 MiB."""
        raw = self._raw_blocks()
        for block in _unpack(self._file, raw) if self._file.compression else raw:
            self._unpacked_bytes += len(block)
            self._check_limits()
            yield block

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        r"""Yield runs of whole lines as one piece, ending in ``\n``.

        The flag is true for what stands after the last line break.
        """
        parts: list[bytes] = []
        for block in self.blocks():
            cut = block.rfind(b"\n") + 1
            if not cut:
                parts.append(block)
                continue
            # Joined once: a line of many blocks must not be copied for each.
            yield b"".join([*parts, memoryview(block)[:cut]]), False
            parts = [block[cut:]]
        rest = b"".join(parts)
        if rest:
            yield rest, True

    def _raw_blocks(self) -> Iterator[bytes]:
        name = self._file.name
        try:
            with self._file.path.open("rb") as file:
                before = os.fstat(file.fileno())
                while block := file.read(BLOCK_BYTES):
                    self._hash.update(block)
                    self._raw_bytes += len(block)
                    if self._done:
                        self._done(len(block))
                    yield block
                after = os.fstat(file.fileno())
        except OSError as error:
            raise FileError(name, describe(error)) from error
        if (before.st_mtime_ns, self._raw_bytes) != (after.st_mtime_ns, after.st_size):
            raise FileError(name, "changed while it was read")

    def _check_limits(self) -> None:
        limits = self._limits
        if self._unpacked_bytes > limits.unpacked_bytes:
            raise FileError(
                self._file.name, f"unpacks to more than {limits.unpacked_bytes} bytes, the limit"
            )
        if self._unpacked_bytes > max(limits.ratio_from_bytes, limits.ratio * self._raw_bytes):
            raise FileError(
                self._file.name, f"unpacks to more than {limits.ratio} times its size, the limit"
            )


def describe(error: OSError) -> str:
    """Say what the system found wrong."""
    return (error.strerror or str(error)).lower()


def _unpack(file: CorpusFile, raw: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what packed blocks unpack to, over all members of the file."""
    start, errors = _unpacker(file)
    unpacker: Any = None
    try:
        for block in raw:
            rest = block
            while rest:
                if unpacker is None:
                    # Zeros pad a file after its last member; they are no member.
                    if file.compression in ("gz", "xz") and not rest.strip(b"\0"):
                        break
                    unpacker = start()
                rest = yield from _unpack_member(file.compression, unpacker, rest)
                if unpacker.eof:
                    unpacker = None
    except errors as error:
        raise FileError(file.name, f"broken {file.compression} file: {error}") from error
    if unpacker is not None:
        raise FileError(file.name, f"broken {file.compression} file: cut short")


def _unpack_member(compression: str, unpacker: Any, data: bytes) -> Generator[bytes, None, bytes]:
    """Yield what `data` unpacks to; return what stands after the member's end."""
    if compression == "gz":
        while True:
            if block := unpacker.decompress(data, BLOCK_BYTES):
                yield block
            if unpacker.eof:
                return bytes(unpacker.unused_data)
            # A full block may leave output in the unpacker with no input.
            data = unpacker.unconsumed_tail
            if not data and len(block) < BLOCK_BYTES:
                return b""
    if compression == "zst":
        blocks: list[bytes] = []
        size = 0
        for start in range(0, len(data), _ZST_PIECE_BYTES):
            blocks.append(unpacker.decompress(data[start : start + _ZST_PIECE_BYTES]))
            size += len(blocks[-1])
            if size >= BLOCK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
            if unpacker.eof:
                break
        if size:
            yield b"".join(blocks)
        if unpacker.eof:
            return bytes(unpacker.unused_data) + data[start + _ZST_PIECE_BYTES :]
        return b""
    while True:
        if block := unpacker.decompress(data, BLOCK_BYTES):
            yield block
        if unpacker.eof:
            return bytes(unpacker.unused_data)
        if unpacker.needs_input:
            return b""
        data = b""


def _unpacker(file: CorpusFile) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    """Return what begins a member, and the errors of a broken one."""
    match file.compression:
        case "gz":
            # zlib unpacks 0.3 GB/s, isal three times as much.
            try:
                isal_zlib: Any = importlib.import_module("isal.isal_zlib")
            except ImportError:
                return (lambda: zlib.decompressobj(31)), (zlib.error, EOFError)
            return (lambda: isal_zlib.decompressobj(31)), (isal_zlib.error, zlib.error, EOFError)
        case "zst":
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj, (zstandard.ZstdError,)
        case "bz2":
            return bz2.BZ2Decompressor, (OSError, EOFError)
    return (
        lambda: lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY_BYTES),
        (lzma.LZMAError, EOFError),
    )


class OutputStream:
    """A file that comes to be whole or not at all, packed as asked.

    A context manager: what is written stands under its name once the block
    ends without an error.

    Raises
    ------
    OutputError
        When it cannot be written; what stood there still does.
    """

    def __init__(self, target: Path, compression: str = "") -> None:
        self.target = target
        self._compression = compression
        # Short, for the target's name may be as long as a name may be.
        self.path = target.parent / f".{secrets.token_hex(8)}.part"
        self._raw: IO[bytes] | None = None
        self._packed: Any = None

    def __enter__(self) -> Self:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            if self.target.is_dir():
                raise IsADirectoryError(None, "is a folder")
            # As any new file: mkstemp would keep it from everyone else.
            self._raw = self.path.open("xb")
            self._packed = self._packer(self._raw)
        except OSError as error:
            self._discard()
            raise OutputError(str(self.target), describe(error)) from error
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes, which may be others once this returns."""
        try:
            self._packed.write(data)
        except OSError as error:
            raise OutputError(str(self.target), describe(error)) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None or self._raw is None:
            self._discard()
            return
        try:
            if self._packed is not self._raw:
                self._packed.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
            self.path.replace(self.target)
        except OSError as failed:
            self._discard()
            raise OutputError(str(self.target), describe(failed)) from failed

    def _discard(self) -> None:
        # Closing flushes, and a full disk refuses that too.
        for stream in (self._packed, self._raw):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _packer(self, raw: IO[bytes]) -> Any:
        # One thread, fixed levels, no names and no times: the same bytes out
        # wherever the libraries are the same. Not isal, whose output depends
        # on the instructions that the processor has.
        match self._compression:
            case "gz":
                # Level 6 packs 8 % smaller, 4 is 2.5 times as fast: 90 MB/s.
                return gzip.GzipFile("", "wb", 4, raw, mtime=0)
            case "zst":
                import zstandard

                packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
                return packer.stream_writer(raw, closefd=False)
            case "bz2":
                return bz2.BZ2File(raw, "wb")
            case "xz":
                return lzma.LZMAFile(raw, "wb", preset=6)
        return raw
