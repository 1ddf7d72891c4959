"""The list of files under the paths given: names, formats, and an order of its own.

Looks at folders; opens no file.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from dedup.documents import Compression, CorpusFile, Failure, Format

_FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".log": "text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {f".{name}": name for name in get_args(Compression) if name}

# Packed inside already; a packed one would have to be unpacked to disk first.
_PLAIN_ONLY: tuple[Format, ...] = ("pdf", "docx", "parquet")

# Written as the text that was taken out of them.
_EXTRACTED: tuple[Format, ...] = ("html", "pdf", "docx")


def output_name(file: CorpusFile) -> str:
    """Return the path of a file's cleaned mirror, relative to the output folder."""
    if file.format not in _EXTRACTED:
        return file.name
    name = file.name.removesuffix(f".{file.compression}") if file.compression else file.name
    suffix = f".{file.compression}" if len(name) < len(file.name) else ""
    return f"{name}.txt{suffix}"


def kind_of(name: str) -> tuple[Format, Compression]:
    """Return how a file given by name is stored: by its ending, as text where that is unknown."""
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    return _kind(name) or ("text", _COMPRESSIONS.get(suffix.lower(), ""))


def find_files(
    paths: Iterable[str | Path | CorpusFile],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unread: Counter[str] | None = None,
) -> tuple[list[CorpusFile], list[Failure]]:
    """List the files to be read: those given, and those in the folders given.

    Parameters
    ----------
    paths
        Files and folders. A file given by name is read whatever it is called:
        as text when its ending is unknown. Standard input stands among them as
        the file that `spool_stdin` made of it.
    include, exclude
        Globs for what is in folders, held against the path relative to the
        folder given: ``*`` and ``?`` stop at ``/``, ``**`` does not, and a
        pattern without ``/`` is held against the last part of the path alone.
        When there is an `include`, only what one of its patterns fits is
        read. What fits an `exclude`, or lies in a folder that does, is not.
    unread
        Counts, by their endings, the files in folders that would be read if
        they were of a format that is.

    Returns
    -------
    list of CorpusFile
        For each path in the order given, by the bytes of the relative path.
    list of Failure
        What cannot be read.

    Notes
    -----
    A file or folder that begins with a dot is read only where a pattern of
    `include` fits that has a part beginning with a dot. In folders, files
    whose ending is unknown are passed over. Links to files are followed. Links
    to folders are followed once the real folders were read, unless what they
    lead to was read by then, which is reported.
    """
    walk = _Walk(_Globs(include), _Globs(exclude), Counter() if unread is None else unread)
    for path in paths:
        if isinstance(path, CorpusFile):
            walk.add_file(path, "standard input")
        else:
            walk.add(Path(path))
    return walk.files, walk.failures


class _Globs:
    """Patterns held against relative paths."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = [(_glob_to_regex(pattern), _names_hidden(pattern)) for pattern in patterns]
        self.name_hidden = any(hidden for _, hidden in self._rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def fit(self, name: str, hidden: bool = False) -> bool:
        """Tell whether one fits; of a hidden path, one that names what is hidden."""
        return any(
            rule.fullmatch(name) for rule, names_hidden in self._rules if names_hidden or not hidden
        )


def _names_hidden(pattern: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in pattern.split("/"))


def _glob_to_regex(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./").rstrip("/")
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    out = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            out.append("[^/]")
            at += 1
        elif (found := re.compile(r"\[(!?)(\]?[^]/]*)\]").match(pattern, at)) and found[2]:
            inside = found[2].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            inside = re.sub(r"^\^|&&|\|\||~~", lambda sign: "\\" + "\\".join(sign[0]), inside)
            out.append(f"[{'^/' if found[1] else ''}{inside}]")
            at = found.end()
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return re.compile("".join(out), re.DOTALL)


def _name(relative: str) -> str:
    # A name that is not UTF-8 stands as escapes: a map is JSON, so Unicode.
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _kind(path: str) -> tuple[Format, Compression] | None:
    """Return format and compression by a file's ending, or None when unknown."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122
    compression = _COMPRESSIONS.get(suffix.lower(), "")
    if compression:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    format_ = _FORMATS.get(suffix.lower())
    if format_ is None or (compression and format_ in _PLAIN_ONLY):
        return None
    return format_, compression


def _ending(path: str) -> str:
    """Return the ending of a file that is not read, both of a packed one whose own would be."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122
    inner = os.path.splitext(stem)[1]  # noqa: PTH122
    packed = suffix.lower() in _COMPRESSIONS and inner.lower() in _FORMATS
    return _name(inner + suffix if packed else suffix).lower()


class _Walk:
    """The files found so far."""

    def __init__(self, include: _Globs, exclude: _Globs, unread: Counter[str]) -> None:
        self._include = include
        self._exclude = exclude
        self._unread = unread
        self._taken: dict[str, str] = {}
        self.files: list[CorpusFile] = []
        self.failures: list[Failure] = []

    def add(self, path: Path) -> None:
        """Add a file or a folder with all that is in it."""
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            self._fail(str(path), getattr(error, "strerror", None) or str(error))
            return
        if stat.S_ISDIR(status.st_mode):
            self._add_folder(path, status)
        elif not stat.S_ISREG(status.st_mode):
            self._fail(str(path), "is neither a file nor a folder")
        else:
            kind = kind_of(path.name)
            if kind[1] and not _kind(path.name) and _kind(path.stem):
                self._fail(
                    path.name, f"{path.stem.rpartition('.')[2]} files are read unpacked only"
                )
                return
            self.add_file(CorpusFile(path, _name(path.name), *kind), str(path))

    def _add_folder(self, root: Path, status: os.stat_result) -> None:
        seen = {(status.st_dev, status.st_ino)}
        found: list[str] = []
        links: list[str] = []
        self._scan(root, "", seen, found, links)
        # Real folders first, so that it does not depend on their names which
        # of a folder and a link to it is read.
        while links:
            links.sort(key=os.fsencode)
            link = links.pop(0)
            try:
                target = (root / link).stat()
            except OSError as error:
                self._fail(_name(link), error.strerror or str(error))
                continue
            if (target.st_dev, target.st_ino) in seen:
                self._fail(_name(link), "link to a folder that is read already")
            else:
                seen.add((target.st_dev, target.st_ino))
                self._scan(root, f"{link}/", seen, found, links)
        for relative in sorted(found, key=os.fsencode):
            if kind := _kind(relative):
                path = root / relative
                self.add_file(CorpusFile(path, _name(relative), *kind), str(path))

    def _scan(
        self,
        root: Path,
        prefix: str,
        seen: set[tuple[int, int]],
        found: list[str],
        links: list[str],
    ) -> None:
        """Collect the files in a folder and in the real folders in it."""
        pending = [prefix]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(root / prefix) as listing:
                    entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
            except OSError as error:
                self._fail(_name(prefix.rstrip("/")) or str(root), error.strerror or str(error))
                continue
            for entry in entries:
                relative = prefix + entry.name
                if self._exclude.fit(_name(relative)):
                    continue
                hidden = any(part.startswith(".") for part in relative.split("/"))
                if hidden and not self._include.name_hidden:
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        seen.add((status.st_dev, status.st_ino))
                        pending.append(f"{relative}/")
                        continue
                    # A link to nowhere or to itself is told apart here.
                    mode = entry.stat().st_mode
                except OSError as error:
                    if self._wanted(relative, hidden):
                        self._fail(_name(relative), error.strerror or str(error))
                    continue
                if stat.S_ISDIR(mode):
                    links.append(relative)
                elif self._wanted(relative, hidden):
                    if stat.S_ISREG(mode):
                        found.append(relative)
                    else:
                        self._fail(_name(relative), "is neither a file nor a folder")
                elif stat.S_ISREG(mode) and not _kind(relative) and self._fits(relative, hidden):
                    self._unread[_ending(relative)] += 1

    def _wanted(self, relative: str, hidden: bool) -> bool:
        return _kind(relative) is not None and self._fits(relative, hidden)

    def _fits(self, relative: str, hidden: bool) -> bool:
        if hidden or self._include:
            return self._include.fit(_name(relative), hidden)
        return True

    def add_file(self, file: CorpusFile, origin: str) -> None:
        """Add a file, unless its name is taken."""
        for taken in {file.name, output_name(file)}:
            if taken in self._taken:
                self._fail(file.name, f"its name is taken by {self._taken[taken]}")
                return
        self._taken |= {file.name: origin, output_name(file): origin}
        self.files.append(file)

    def _fail(self, source: str, reason: str) -> None:
        self.failures.append(Failure(_name(source), reason.lower()))
