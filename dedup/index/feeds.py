"""Feeds: documents of files on their way into an index, some at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from dedup.files import STDIN
from dedup.formats import CorpusFile, Failure, Fields, FileError, read_documents
from dedup.intake import find_input, stop_if_strict
from dedup.progress import Progress
from dedup.spool import StdinFormat, spool_stdin

Document = tuple[str, str]

# Documents, and code points of them, that are added in one step.
BATCH_DOCUMENTS: Final = 500
_BATCH_CHARS: Final = 1 << 22


@dataclass
class Feed:
    """Documents of folders and files, in their order.

    Attributes
    ----------
    paths, include, exclude, fields, strict, stdin_format
        See `dedup.runs.Plan`.
    failures
        What could not be read so far. The documents before the place where a file
        breaks off were given already.
    notes
        What the user should know of files that were read.
    """

    paths: Sequence[str]
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    fields: Fields = field(default_factory=Fields)
    strict: bool = False
    stdin_format: StdinFormat = "text"
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def batches(
        self, count: int = BATCH_DOCUMENTS, progress: Progress | None = None
    ) -> Iterator[list[Document]]:
        """Yield documents, up to `count` at a time.

        Raises
        ------
        InputError
            When there is nothing to read, or with `strict` something that cannot be.
        """
        progress = progress or Progress()
        with ExitStack() as stack:
            given: list[str | CorpusFile] = list(self.paths)
            if STDIN in self.paths:
                spooled = stack.enter_context(spool_stdin(self.stdin_format, None, progress))
                given[given.index(STDIN)] = spooled
            found = find_input(given, (), self.include, self.exclude)
            self.failures += found.failures
            stop_if_strict(self.strict, self.failures)
            batch: list[Document] = []
            chars = 0
            for document in self._read(found.files):
                batch.append(document)
                chars += len(document[1])
                if len(batch) >= count or chars >= _BATCH_CHARS:
                    yield batch
                    batch, chars = [], 0
            if batch:
                yield batch

    def _read(self, files: Sequence[CorpusFile]) -> Iterator[Document]:
        seen: set[str] = set()
        for file in files:
            reader = read_documents(file, self.fields, self.failures, seen=seen)
            try:
                for part in reader:
                    for name, text in zip(part.ids, part.texts, strict=True):
                        yield name, text.decode()
            except FileError:
                # The reader has listed it.
                stop_if_strict(self.strict, self.failures)
                continue
            stop_if_strict(self.strict, self.failures)
            if reader.record.note:
                self.notes.append(f"{file.name}: {reader.record.note}")
