"""Room for columns: in memory while there is some, in files without a name beyond.

A stage asks for the columns it makes here, and works on them alike wherever
they stand. Columns on disk are mapped: a watcher takes their pages out of the
process when they become many, and the system writes them back or keeps them
as it likes. What a stage holds at once beside its columns has to be small.
"""

import contextlib
import ctypes
import math
import mmap
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from dedup.errors import OutputError

# Smaller columns stand in memory always.
_LEAST_BYTES = 1 << 16

# What is read of maps between two looks of the watcher may stand in memory too.
_WATCH_SECONDS = 0.002

# What a stage may hold at once without a limit, and the least it is given.
_CHUNK_BYTES = 256 << 20
_LEAST_CHUNK_BYTES = 8 << 20

# The least that is made do with, beside the program itself.
_LEAST_ROOM_BYTES = 32 << 20

# Shares of the room: columns in memory, pages of columns on disk, and what a
# stage holds at once. The rest is for blocks of files that are read and written.
_COLUMN_SHARE, _PAGE_SHARE, _CHUNK_SHARE = 0.4, 0.1, 0.1

# What the program takes when kernels are loaded and blocks of files are read, and
# what it still takes of it as pages of files.
_PROGRAM_BYTES, _PROGRAM_PAGES = 210 << 20, 36 << 20

# Memory of so many bytes goes back to the system when it is freed. glibc raises
# this to 32 MiB by itself, and a run over 246 MB then peaks at 909 MB, not 780.
# Less than blocks of files need would have each of them mapped anew.
_MAPPED_BYTES = 9 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Where Linux says what the group of a container may use, and does.
_GROUP = Path("/sys/fs/cgroup")


class _Map(mmap.mmap):
    """A mapped file without a name."""

    descriptor: int


class Scratch:
    """Gives out columns.

    Parameters
    ----------
    most_bytes
        Resident memory that the process is to keep to; None for no limit. What
        the program itself takes counts too, but no less than 32 MiB are used
        beside it.
    folder
        Where files are made, where they are needed; the system's temporary
        folder unless given. They go with the process, however it ends.
    """

    def __init__(self, most_bytes: int | None = None, folder: str | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._maps: weakref.WeakSet[_Map] = weakref.WeakSet()
        self._done = threading.Event()
        self._watcher: threading.Thread | None = None
        self._room: int | None = None
        self._most_pages = 0.0
        if most_bytes is not None:
            resident, own_pages = _resident_bytes()
            self._room = max(most_bytes - max(resident, _PROGRAM_BYTES), _LEAST_ROOM_BYTES)
            self._most_pages = _PAGE_SHARE * self._room + own_pages + _PROGRAM_PAGES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._watcher is not None:
            self._watcher.join()

    @property
    def is_on_disk(self) -> bool:
        """Whether some column is not in memory."""
        return len(self._maps) > 0

    @property
    def chunk_bytes(self) -> int:
        """What a stage may hold at once beside columns, over all threads."""
        if self._room is None:
            return _CHUNK_BYTES
        return min(max(int(_CHUNK_SHARE * self._room), _LEAST_CHUNK_BYTES), _CHUNK_BYTES)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content.

        Raises
        ------
        OutputError
            When there is no room on disk either.
        """
        if self._room is None:
            return np.empty(shape, dtype)
        kind = np.dtype(dtype)
        count = shape if isinstance(shape, int) else math.prod(shape)
        size = count * kind.itemsize
        if size < _LEAST_BYTES:
            return np.empty(shape, kind)
        with self._lock:
            fits = self._held_bytes + size <= _COLUMN_SHARE * self._room
            self._held_bytes += size if fits else 0
        if fits:
            array: NDArray[Any] = np.empty(count, kind)
            weakref.finalize(array, self._give_back, size)
        else:
            array = self._map(self._make_file(), count, kind)
        return array if isinstance(shape, int) else array.reshape(shape)

    def full(self, shape: int | tuple[int, ...], value: object, dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of one value."""
        array = self.empty(shape, dtype)
        array.fill(value)
        return array

    def grow(self, array: NDArray[Any], count: int) -> NDArray[Any]:
        """Return a longer array that begins with the same content.

        What is written to one of the two is seen in the other or not.
        """
        if isinstance(array.base, _Map):
            return self._map(os.dup(array.base.descriptor), count, array.dtype)
        grown = self.empty(count, array.dtype)
        grown[: len(array)] = array
        return grown

    def take(self, values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """Return the values of some rows."""
        taken = self.empty(len(rows), values.dtype)
        # Any other mode makes a copy first.
        np.take(values, rows, out=taken, mode="clip")
        return taken

    def release(self) -> None:
        """Take the pages of columns on disk out of the process."""
        with self._lock:
            maps = list(self._maps)
        for one in maps:
            with contextlib.suppress(ValueError, OSError, AttributeError):
                one.madvise(mmap.MADV_DONTNEED)

    def keep_to_room(self) -> None:
        """Release, if the pages of columns on disk have become many.

        A stage that reads more in a moment than the watcher sees calls this
        between its slices.
        """
        if self.is_on_disk and _resident_bytes()[1] > self._most_pages:
            self.release()

    def _give_back(self, size: int) -> None:
        # Not under the lock, which the thread that collects garbage may hold.
        self._held_bytes -= size

    def _make_file(self) -> int:
        try:
            handle, name = tempfile.mkstemp(prefix=".dedup-", dir=self._folder)
            Path(name).unlink()
        except OSError as error:
            raise self._refused(error) from error
        return handle

    def _map(self, descriptor: int, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
        size = max(count * kind.itemsize, 1)
        try:
            # A file with holes would end the process when the disk is full.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.ftruncate(descriptor, max(size, os.fstat(descriptor).st_size))
            one = _Map(descriptor, size)
        except OSError as error:
            os.close(descriptor)
            raise self._refused(error) from error
        one.descriptor = descriptor
        weakref.finalize(one, os.close, descriptor)
        with self._lock:
            self._maps.add(one)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        return np.frombuffer(one, kind, count)

    def _refused(self, error: OSError) -> OutputError:
        folder = self._folder or tempfile.gettempdir()
        reason = (error.strerror or str(error)).lower()
        return OutputError(folder, f"no room for what does not fit in memory: {reason}")

    def _watch(self) -> None:
        while not self._done.wait(_WATCH_SECONDS):
            self.keep_to_room()


class Column:
    """A column that grows at its end.

    Parameters
    ----------
    expected
        How long it is likely to become.
    """

    def __init__(self, scratch: Scratch, dtype: DTypeLike, expected: int = 0) -> None:
        self._scratch = scratch
        self._room = scratch.empty(max(expected, 1 << 10), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[Any]:
        """The column as it is; it does not change while no value is appended."""
        return self._room[: self._count]

    def extend(self, values: NDArray[Any]) -> None:
        """Append values."""
        self.add(len(values))[:] = values

    def add(self, count: int) -> NDArray[Any]:
        """Append values of any kind, and return them to be written."""
        first, self._count = self._count, self._count + count
        if self._count > len(self._room):
            most = max(self._count, len(self._room) * 3 // 2)
            self._room = self._scratch.grow(self._room, most)
        return self._room[first : self._count]

    def truncate(self, count: int) -> None:
        """Forget all but the first values."""
        self._count = min(self._count, count)


def free_at_once() -> None:
    """Have the allocator of this process give large blocks back when they are freed."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _MAPPED_BYTES)


def find_free_bytes() -> int:
    """Return the memory that is free on this machine, or in this container if that is less."""
    free = int(psutil.virtual_memory().available)
    try:
        most = (_GROUP / "memory.max").read_text().strip()
        used = int((_GROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(int(most) - used, 0)) if most.isdigit() else free


def _resident_bytes() -> tuple[int, int]:
    """Return the resident memory of the process, and what of it are pages of files.

    Where the system does not tell them apart, all counts as the latter.
    """
    found = psutil.Process().memory_info()
    return found.rss, getattr(found, "shared", found.rss)
