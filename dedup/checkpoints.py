"""Checkpoints: what a run that was stopped had done, kept in its output folder.

Documents that were read, duplicates that were found, and the files that were
written, so that all of it need not be done again. A checkpoint holds what is
committed: whatever was being written when the process ended does not count.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from dedup.columns import Texts
from dedup.documents import CorpusFile, Failure, FileRecord
from dedup.duplicates import Duplicates
from dedup.errors import InputError, OutputError
from dedup.files import make_folder, write_whole
from dedup.slices import cut_many_slices
from dedup.streams import describe

FOLDER_NAME = ".dedup-run"

# Names of files that were being written when a run was stopped.
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part|\.dedup-[a-z0-9_]{8}")

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class FileRead:
    """A file and its documents, from the first to behind the last.

    Attributes
    ----------
    record
        None for a file that could not be read.
    failures
        What could not be read of it.
    size, changed_ns
        Of the file when it was opened.
    """

    file: CorpusFile
    record: FileRecord | None
    first: int
    last: int
    failures: tuple[Failure, ...]
    size: int
    changed_ns: int


class Checkpoint:
    """The state of one run.

    Parameters
    ----------
    out
        Output folder of the run.
    identity
        All that decides the result beside the content of the input.
    seconds
        What took less is not worth keeping.

    Raises
    ------
    OutputError
        From all methods, when the state cannot be written; from here, when
        there is the state of another run.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], seconds: float) -> None:
        self._folder = out / FOLDER_NAME
        self._seconds = seconds
        self._saved_at = time.monotonic()
        self._read_counts = {"files": 0, "documents": 0, "text_bytes": 0, "id_bytes": 0}
        self._identity = orjson.loads(orjson.dumps(identity))
        known = self._load("run.json")
        if known is not None and known != self._identity:
            differ = ", ".join(
                key for key, value in self._identity.items() if known.get(key) != value
            )
            raise OutputError(
                str(out), f"holds the state of another run, with other {differ or 'options'}"
            )
        _sweep(out)

    @property
    def is_due(self) -> bool:
        """Whether it is time to save what was done since the last time."""
        return time.monotonic() - self._saved_at >= self._seconds

    def begin(self) -> None:
        """Make the folder in which the state stands, if nothing was saved yet."""
        if not (self._folder / "run.json").exists():
            make_folder(str(self._folder))
            self._save("run.json", self._identity)

    def save_read(self, files: list[FileRead], texts: Texts, ids: Texts) -> None:
        """Keep the documents that were read from whole files so far."""
        self.begin()
        done = self._read_counts
        first = done["documents"]
        last = files[-1].last if files else 0
        with self._refusing():
            self._append("text", done["text_bytes"], _between(texts, first, last))
            self._append("text_ends", 8 * first, texts.offsets[first + 1 : last + 1])
            self._append("ids", done["id_bytes"], _between(ids, first, last))
            self._append("ids_ends", 8 * first, ids.offsets[first + 1 : last + 1])
        rows = [
            {**asdict(replace(one, file=None)), "name": one.file.name}  # type: ignore[arg-type]
            for one in files[done["files"] :]
        ]
        self._save(f"files-{done['files']}.json", rows)
        self._read_counts = {
            "files": len(files),
            "documents": last,
            "text_bytes": int(texts.offsets[last]),
            "id_bytes": int(ids.offsets[last]),
        }
        self._save("read.json", self._read_counts)
        self._saved_at = time.monotonic()

    def load_read(self, files: list[CorpusFile]) -> list[FileRead]:
        """Return the files that were read; their documents come from `load_texts`.

        Raises
        ------
        InputError
            When a file is not the one that was read.
        """
        found: list[FileRead] = []
        counts = self._load("read.json")
        if counts is not None:
            self._read_counts = counts
        while len(found) < self._read_counts["files"]:
            rows = self._load(f"files-{len(found)}.json")
            if not rows:
                raise self._damaged()
            found += [_to_file_read(row, files, len(found) + i) for i, row in enumerate(rows)]
        return found

    def load_texts(self, name: Literal["ids", "text"]) -> Iterator[Texts]:
        """Yield the names or the texts of the documents that were read, in blocks."""
        count = self._read_counts["documents"]
        if count == 0:
            return
        with self._refusing():
            ends = np.fromfile(self._folder / f"{name}_ends", np.int64, count)
            if len(ends) < count or (np.diff(ends) < 0).any():
                raise self._damaged()
            offsets = np.append(np.zeros(1, np.int64), ends)
            stored = Texts(np.empty(0, np.uint8), offsets)
            with (self._folder / name).open("rb") as file:
                bounds = cut_many_slices(count, stored.lengths, _BLOCK_BYTES)
                for first, last in pairwise(bounds.tolist()):
                    part = offsets[first : last + 1] - offsets[first]
                    data = np.fromfile(file, np.uint8, int(part[-1]))
                    if len(data) < part[-1]:
                        raise self._damaged()
                    yield Texts(data, part)

    def save_duplicates(self, found: Duplicates, inputs: str) -> None:
        """Keep what was found in input of some checksum."""
        self.begin()
        with self._refusing():
            for field in fields(found):
                value = getattr(found, field.name)
                if isinstance(value, np.ndarray):
                    np.save(self._folder / f"{field.name}.npy", value)
        self._save("duplicates.json", {"inputs": inputs, "capped_count": found.capped_count})
        self._saved_at = time.monotonic()

    def load_duplicates(self, inputs: str) -> Duplicates | None:
        """Return what was found, if it was.

        Raises
        ------
        InputError
            When it was found in other input.
        """
        known = self._load("duplicates.json")
        if known is None:
            return None
        if known["inputs"] != inputs:
            raise InputError(str(self._folder.parent), _OTHER_INPUT)
        try:
            columns: dict[str, NDArray[Any]] = {
                field.name: np.load(self._folder / f"{field.name}.npy", mmap_mode="r")
                for field in fields(Duplicates)
                if field.name != "capped_count"
            }
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        return Duplicates(**columns, capped_count=known["capped_count"])

    def save_written(self, name: str) -> None:
        """Note that the mirror of a file stands."""
        self.begin()
        with self._refusing(), (self._folder / "written").open("a", encoding="utf-8") as file:
            file.write(orjson.dumps(name).decode() + "\n")

    def load_written(self) -> set[str]:
        """Return the files of which the mirror stands."""
        try:
            lines = (self._folder / "written").read_bytes().split(b"\n")
        except FileNotFoundError:
            return set()
        # The last may be cut short.
        return {orjson.loads(line) for line in lines[:-1]}

    def remove(self) -> None:
        """Forget the run: it is done."""
        with self._refusing():
            if self._folder.exists():
                shutil.rmtree(self._folder)

    def _append(self, name: str, at: int, values: NDArray[Any]) -> None:
        path = self._folder / name
        path.touch()
        with path.open("r+b") as file:
            file.truncate(at)
            file.seek(at)
            values.tofile(file)
            file.flush()
            os.fsync(file.fileno())

    def _save(self, name: str, value: Any) -> None:
        write_whole(str(self._folder / name), orjson.dumps(value))

    def _load(self, name: str) -> Any:
        try:
            return orjson.loads((self._folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            raise self._damaged() from error

    def _damaged(self) -> OutputError:
        return OutputError(
            str(self._folder.parent),
            "holds the state of a run, but it is damaged; start anew with --overwrite",
        )

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(str(self._folder), describe(error)) from error


_OTHER_INPUT = "changed since the run was stopped; start anew with --overwrite"


def has_state(out: Path) -> bool:
    """Tell whether a folder holds the state of a run that was stopped."""
    return (out / FOLDER_NAME).is_dir()


def forget_state(out: Path) -> None:
    """Remove the state of a run that is not to go on, and what it was writing.

    Raises
    ------
    OutputError
    """
    try:
        if has_state(out):
            shutil.rmtree(out / FOLDER_NAME)
        _sweep(out)
    except OSError as error:
        raise OutputError(str(out), describe(error)) from error


def _sweep(out: Path) -> None:
    for folder, _, names in os.walk(out):
        for name in names:
            if _UNFINISHED.fullmatch(name):
                with contextlib.suppress(OSError):
                    (Path(folder) / name).unlink()


def _between(texts: Texts, first: int, last: int) -> NDArray[np.uint8]:
    return texts.data[texts.offsets[first] : texts.offsets[last]]


def _to_file_read(row: dict[str, Any], files: list[CorpusFile], number: int) -> FileRead:
    file = files[number] if number < len(files) else None
    if file is None or file.name != row["name"]:
        raise InputError(row["name"], _OTHER_INPUT)
    status = file.path.stat()
    if (status.st_size, status.st_mtime_ns) != (row["size"], row["changed_ns"]):
        raise InputError(file.name, _OTHER_INPUT)
    record = row["record"]
    return FileRead(
        file,
        FileRecord(**{**record, "bad_rows": tuple(record["bad_rows"])}) if record else None,
        row["first"],
        row["last"],
        tuple(Failure(**failure) for failure in row["failures"]),
        row["size"],
        row["changed_ns"],
    )
