"""A disk that loses power: what was written and brought to it, moment by moment.

SQLite's files are followed by a VFS of our own, others by the functions of `os` that write
them. From what was noted comes the folder as it may look after a crash at any moment: what
was synchronised is there; of what was written since, and of the names that were given and
taken since, any part is there.
"""

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self
from unittest.mock import patch

import apsw

_PAGE_BYTES = 4096

# SQLite brings the name of a journal or WAL to the disk when it synchronises it first
# (os_unix.c, UNIXFILE_DIRSYNC).
_NAMED_WITH_SYNC = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)

# Whether a file's or folder's synchronisation is to be left out, by its path then.
Deaf = Callable[[str], bool]


@dataclass
class _Contents:
    """Bytes of a file that are on the disk, and what was done to it since."""

    whole: bytearray = field(default_factory=bytearray)
    since: list[tuple[Any, ...]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.since:
            _change(self.whole, *change)
        self.since.clear()

    def after_crash(self, chooser: Random, share: float) -> bytes:
        left = bytearray(self.whole)
        for change in self.since:
            for piece in _cut_pages(*change):
                if chooser.random() < share:
                    _change(left, *piece)
        return bytes(left)


def _change(data: bytearray, what: str, at: int, new: bytes = b"") -> None:
    if what == "cut":
        del data[at:]
    data.extend(bytes(max(at + len(new) - len(data), 0)))
    data[at : at + len(new)] = new


def _cut_pages(what: str, at: int, new: bytes = b"") -> Iterator[tuple[Any, ...]]:
    if what != "write":
        yield what, at
        return
    first = at
    while first < at + len(new):
        stop = min(first - first % _PAGE_BYTES + _PAGE_BYTES, at + len(new))
        yield what, first, new[first - at : stop - at]
        first = stop


class Disk:
    """What happened to the files of a folder, and what was said meanwhile.

    Parameters
    ----------
    folder
        Which is there, and on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: list[tuple[Any, ...]] = []
        self._numbers: dict[str, int] = {}
        self._open_files: dict[int, str] = {}
        self._lock = threading.Lock()

    def keep(self, beside: Any) -> None:
        """Write what was noted into the folder, for another process, and something beside it."""
        noted = pickle.dumps((self._events, beside))
        (self._folder / "events").write_bytes(noted)

    @classmethod
    def read(cls, folder: Path) -> tuple[Self, Any]:
        """Read what a process of ours noted."""
        disk = cls(folder)
        disk._events, beside = pickle.loads((folder / "events").read_bytes())
        return disk, beside

    def __len__(self) -> int:
        return len(self._events)

    def say(self, *what: Any) -> None:
        """Note something between what happens to the files."""
        self._note("say", *what)

    def said(self, moment: int) -> list[tuple[Any, ...]]:
        """Return all that was said before a moment."""
        return [event[1:] for event in self._events[:moment] if event[0] == "say"]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what happens from here on."""
        vfs = _Vfs(self)
        calls = "open close pwrite posix_fallocate ftruncate fsync mkdir replace"
        with (
            patch.multiple(
                os, **{name: getattr(self, f"_{name}")(getattr(os, name)) for name in calls.split()}
            ),
            patch.object(os, "unlink", self._unlink(os.unlink)),
        ):
            try:
                yield
            finally:
                vfs.unregister()

    def crash(self, moment: int, chooser: Random, target: Path, deaf: Deaf | None = None) -> None:
        """Write the folder as it may be after a crash at a moment."""
        deaf = deaf or (lambda path: False)
        files: dict[int, _Contents] = {}
        names: dict[str, int | None] = {}
        since: list[tuple[Any, ...]] = []
        for kind, *what in self._events[:moment]:
            if kind in ("write", "cut", "grow"):
                files.setdefault(what[0], _Contents()).since.append((kind, *what[1:]))
            elif kind == "sync":
                if not deaf(what[1]):
                    files.setdefault(what[0], _Contents()).sync()
            elif kind == "sync names":
                if not deaf(what[0]):
                    for change in [one for one in since if _folder_of(one) == what[0]]:
                        _rename(names, *change)
                        since.remove(change)
            elif kind != "say":
                since.append((kind, *what))
        share = chooser.choice([0.0, 0.3, 0.7, 1.0])
        for change in since:
            if chooser.random() < share:
                _rename(names, *change)
        share = chooser.choice([0.0, 0.3, 0.7, 1.0])
        for name in sorted(names):
            path = target / Path(name).relative_to(self._folder)
            # What is named in a folder that has no name is lost.
            if path.parent.exists():
                number = names[name]
                if number is None:
                    path.mkdir()
                else:
                    path.write_bytes(files.get(number, _Contents()).after_crash(chooser, share))

    def _note(self, *event: Any) -> None:
        with self._lock:
            self._events.append(event)

    def _is_inside(self, path: Any) -> bool:
        return Path(os.fspath(path)).is_relative_to(self._folder)

    def make(self, path: str) -> None:
        """Note that a file is opened that may be new."""
        if path not in self._numbers:
            self._numbers[path] = len(self._events)
            self._note("name", path, self._numbers[path])

    def write(self, path: str, data: bytes, at: int) -> None:
        self._note("write", self._numbers[path], at, bytes(data))

    def cut(self, path: str, size: int) -> None:
        self._note("cut", self._numbers[path], size)

    def sync(self, path: str) -> None:
        self._note("sync", self._numbers[path], path)

    def sync_names(self, folder: str) -> None:
        self._note("sync names", folder)

    def remove(self, path: str) -> None:
        if self._numbers.pop(path, None) is not None:
            self._note("remove", path)

    def _open(self, real: Any) -> Any:
        def open_file(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            descriptor: int = real(path, flags, *rest, **named)
            if self._is_inside(path):
                self._open_files[descriptor] = str(path)
                if flags & os.O_CREAT:
                    self.make(str(path))
            return descriptor

        return open_file

    def _close(self, real: Any) -> Any:
        def close(descriptor: int) -> None:
            self._open_files.pop(descriptor, None)
            real(descriptor)

        return close

    def _pwrite(self, real: Any) -> Any:
        def pwrite(descriptor: int, data: Any, at: int) -> int:
            written: int = real(descriptor, data, at)
            if descriptor in self._open_files:
                self.write(self._open_files[descriptor], bytes(data)[:written], at)
            return written

        return pwrite

    def _posix_fallocate(self, real: Any) -> Any:
        def posix_fallocate(descriptor: int, at: int, size: int) -> None:
            real(descriptor, at, size)
            if descriptor in self._open_files:
                self._note("grow", self._numbers[self._open_files[descriptor]], at + size)

        return posix_fallocate

    def _ftruncate(self, real: Any) -> Any:
        def ftruncate(descriptor: int, size: int) -> None:
            real(descriptor, size)
            if descriptor in self._open_files:
                self.cut(self._open_files[descriptor], size)

        return ftruncate

    def _fsync(self, real: Any) -> Any:
        def fsync(descriptor: int) -> None:
            path = self._open_files.get(descriptor)
            if path is None:
                real(descriptor)
            elif Path(path).is_dir():
                self.sync_names(path)
            else:
                self.sync(path)

        return fsync

    def _mkdir(self, real: Any) -> Any:
        def mkdir(path: Any, *rest: Any, **named: Any) -> None:
            real(path, *rest, **named)
            if self._is_inside(path):
                self._note("name", str(path), None)

        return mkdir

    def _replace(self, real: Any) -> Any:
        def replace(source: Any, target: Any, **named: Any) -> None:
            real(source, target, **named)
            if self._is_inside(source):
                self._numbers[str(target)] = self._numbers.pop(str(source))
                self._note("name", str(target), self._numbers[str(target)], str(source))

        return replace

    def _unlink(self, real: Any) -> Any:
        def unlink(path: Any, **named: Any) -> None:
            real(path, **named)
            self.remove(str(path))

        return unlink


def _folder_of(change: tuple[Any, ...]) -> str:
    return str(Path(change[1]).parent)


def _rename(
    names: dict[str, int | None],
    what: str,
    path: str,
    number: int | None = None,
    before: str | None = None,
) -> None:
    if what == "remove":
        names.pop(path, None)
        return
    if before is not None:
        names.pop(before, None)
    names[path] = number


class _Vfs(apsw.VFS):
    """SQLite's own VFS, and what it does with files of the folder is noted."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._base = apsw.vfs_names()[0]
        super().__init__("recording", self._base, makedefault=True)

    def xOpen(  # noqa: N802
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not self._disk._is_inside(path):
            return apsw.VFSFile(self._base, name, flags)
        return _VfsFile(self._disk, path, self._base, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._disk.remove(filename)
        if syncdir:
            self._disk.sync_names(str(Path(filename).parent))


class _VfsFile(apsw.VFSFile):
    def __init__(
        self,
        disk: Disk,
        path: str,
        base: str,
        name: str | apsw.URIFilename | None,
        flags: list[int],
    ) -> None:
        self._disk, self._path = disk, path
        self._names_too = bool(flags[0] & _NAMED_WITH_SYNC)
        super().__init__(base, name, flags)
        disk.make(path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._disk.write(self._path, data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.cut(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        # The disk is this object: the real one, which takes its time, is left alone.
        self._disk.sync(self._path)
        if self._names_too:
            self._names_too = False
            self._disk.sync_names(str(Path(self._path).parent))
