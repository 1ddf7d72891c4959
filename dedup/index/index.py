"""The index: documents as they come, and what is new in each of them.

The law, the map and the words are those of a run over all documents in the order in
which they were added. What an index holds beside its journal can be made from it again.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Positions, Texts
from dedup.corpus import cut_all_units, cut_duplicates
from dedup.documents import check_documents
from dedup.duplicates import GOES, OPEN, SHORT, Duplicates
from dedup.errors import InputError, OptionsError, OutputError
from dedup.filters import Filters
from dedup.folding import folding_table
from dedup.index.journal import ROW, Journal, Record, check_text, join_records
from dedup.index.judgements import Judgement, judge
from dedup.index.lookups import Lookups
from dedup.index.segments import sync_folder
from dedup.kinds import KINDS
from dedup.options import Options
from dedup.pipeline import list_results
from dedup.results import Duplicate, Result, Span
from dedup.signatures import SCHEME, SEED

IfExists = Literal["error", "skip", "replace"]

_JOURNAL: Final = "journal.sqlite"
_SEGMENTS: Final = "segments"

_EXPORTED_AT_ONCE: Final = 256


@dataclass(frozen=True)
class Judged:
    """A duplicate whose canonical was removed, and what the law says of it since.

    Attributes
    ----------
    document, start, stop
        Where it stands, in code points.
    was
        Its canonical before.
    now
        The row that it has now, or None: it stays.
    """

    document: str
    start: int
    stop: int
    was: Span
    now: Duplicate | None

    def to_mapping(self) -> dict[str, Any]:
        """Return it as it goes into JSON."""
        return {
            "document": self.document,
            "start": self.start,
            "stop": self.stop,
            "was": self.was.to_mapping(),
            "now": self.now.to_mapping() if self.now else None,
        }


class Index:
    """Documents that were seen, kept on disk; `open` opens one.

    Usable from many threads and processes: one of them adds at a time. As a context
    manager it closes at the end.

    Examples
    --------
    >>> import tempfile
    >>> from dedup import Index
    >>> folder = tempfile.mkdtemp()
    >>> with Index.open(f"{folder}/seen") as index:
    ...     first, second = index.add([
    ...         ("a", "The ferry leaves at noon from the old pier."),
    ...         ("b", "The ferry leaves at noon, from the old pier. Nobody knew it."),
    ...     ])
    >>> second.text, second.duplicates[0].canonical
    ('Nobody knew it.', Span(document='a', start=0, stop=43))
    """

    def __init__(self, path: Path, journal: Journal, options: Options, threads: int) -> None:
        self.path, self.options = path, options
        self._journal, self._threads = journal, threads
        self._lock = threading.RLock()
        self._lookups = Lookups(path / _SEGMENTS, journal, options, threads, self._lock)

    @classmethod
    def open(
        cls,
        path: str | Path,
        options: Options | None = None,
        *,
        create: bool | None = None,
        threads: int = 1,
    ) -> Self:
        """Open an index, or make one where there is nothing yet.

        Parameters
        ----------
        path
            Its folder.
        options
            What it is made with, or has to have been made with; what it has, or the
            defaults, unless given.
        create
            True for a new one alone, False for one that is there.
        threads
            Workers of one call.

        Raises
        ------
        InputError
            When there is no index, or it is damaged.
        OptionsError
            When it was made with other options; it names the first that differs.
        """
        folder = Path(path)
        file = folder / _JOURNAL
        is_there = Journal.is_there(file)
        if create is False and not is_there:
            raise InputError(str(path), "is no index")
        if create is True and is_there:
            raise InputError(str(path), "is an index already")
        if is_there:
            journal = Journal.open(file)
        else:
            options = options or Options()
            _check_options(options)
            new = [folder, *(one for one in folder.parents if not one.exists())]
            folder.mkdir(parents=True, exist_ok=True)
            journal = Journal.create(file, _facts(options))
            # What is in a folder is lost with the power as long as its name may be.
            for one in new:
                sync_folder(one.parent)
        try:
            return cls(folder, journal, _read_options(path, journal, options), threads)
        except BaseException:
            journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was acknowledged is on disk."""
        self._lookups.close()
        with self._lock:
            self._journal.close()

    def add(
        self, documents: Iterable[tuple[str, str]], *, if_exists: IfExists = "error"
    ) -> list[Result]:
        """Say what is new in documents, and remember them: in one step, all or none.

        A document that is there with the same text gets the answer that it got.

        Parameters
        ----------
        documents
            Id and text of each, in their order.
        if_exists
            What becomes of an id that is there with another text: an error, the
            answer for what is there, or the new text in its place, as the last one.

        Raises
        ------
        InputError
            When a document is no pair of texts, or has an id that is there already;
            it names it, and nothing is added.
        """
        if if_exists not in get_args(IfExists):
            raise OptionsError("if_exists", if_exists, "one of " + ", ".join(get_args(IfExists)))
        documents = list(documents)
        ids, texts = check_documents(documents)
        checksums = [check_text(one) for one in _split(texts)]
        with self._writing():
            known = self._journal.find_ids(ids)
            others = [
                name
                for name, checksum in zip(ids, checksums, strict=True)
                if name in known and known[name][1] != checksum
            ]
            if others and if_exists == "error":
                raise InputError(others[0], "another text has this id")
            if others and if_exists == "replace":
                self._remove([known.pop(name)[0] for name in others])
            new = [i for i, name in enumerate(ids) if name not in known]
            judged = self._judge([documents[i] for i in new])
            self._write(judged, [checksums[i] for i in new])
            results = {
                result.document: result
                for result in (
                    *judged.results,
                    *self._recall(number for number, _ in known.values()),
                )
            }
        self._lookups.work()
        return [results[name] for name in ids]

    def check(self, documents: Iterable[tuple[str, str]]) -> list[Result]:
        """Say what `add` would say, and remember nothing.

        A document that is there with another text is looked at as if it took its place.
        """
        documents = list(documents)
        ids, texts = check_documents(documents)
        checksums = [check_text(one) for one in _split(texts)]
        with self._reading():
            known = self._journal.find_ids(ids)
            same = [
                name in known and known[name][1] == checksum
                for name, checksum in zip(ids, checksums, strict=True)
            ]
            gone = [
                known[name][0]
                for name, is_same in zip(ids, same, strict=True)
                if name in known and not is_same
            ]
            new = [
                document for document, is_same in zip(documents, same, strict=True) if not is_same
            ]
            old = [known[name][0] for name, is_same in zip(ids, same, strict=True) if is_same]
            results = {
                result.document: result
                for result in (*self._judge(new, gone).results, *self._recall(old))
            }
        return [results[name] for name in ids]

    def get(self, document: str) -> Result | None:
        """Return what was said of a document; None when it is not there."""
        with self._reading():
            found = self._journal.find_ids([document])
            if not found:
                return None
            return self._recall([found[document][0]])[0]

    def remove(self, documents: Iterable[str]) -> list[Judged]:
        """Forget documents, and judge again what pointed to them, in order.

        Returns
        -------
        list of Judged
            Units that lost their canonical. One that stays now is one that later
            documents are held against.

        Raises
        ------
        InputError
            When one is not there; nothing is removed.
        """
        names = list(dict.fromkeys(documents))
        with self._writing():
            found = self._journal.find_ids(names)
            for name in names:
                if name not in found:
                    raise InputError(name, "is not in the index")
            return self._remove([found[name][0] for name in names])

    def stats(self) -> dict[str, Any]:
        """Count what is there: documents, units, duplicates, postings, bytes."""
        with self._reading():
            counts = self._journal.counts()
            postings = len(self._lookups)
        files = [file for file in self.path.rglob("*") if file.is_file()]
        return {
            **counts,
            "postings": postings,
            "bands": self.options.bands,
            "bytes": sum(file.stat().st_size for file in files),
        }

    def export(self) -> Iterator[tuple[str, str]]:
        """Yield id and text of every document, in order, while the index is in use."""
        number = -1
        while True:
            with self._reading():
                records = self._journal.documents_after(number, _EXPORTED_AT_ONCE)
            if not records:
                return
            number = records[-1].number
            for record in records:
                yield record.id, record.text.decode()

    def compact(self) -> None:
        """Give back the space of what was removed, and make one segment of all."""
        self._lookups.compact()
        with self._lock:
            self._journal.shrink()

    def reindex(self) -> None:
        """Make all that can be made from the journal anew."""
        self._lookups.reindex()

    def verify(self) -> None:
        """Look at all that is there.

        Raises
        ------
        InputError
            When something is damaged; it names the file.
        """
        with self._lock:
            self._journal.verify()
        self._lookups.verify()
        for _ in self.export():
            pass

    def snapshot(self, path: str | Path) -> None:
        """Write a copy of the index as it is now, while it is in use.

        Raises
        ------
        OutputError
            When something stands there already.
        """
        target = Path(path)
        if target.exists():
            raise OutputError(str(path), "is there already")
        self._lookups.finish_work()
        with self._reading():
            (target / _SEGMENTS).mkdir(parents=True)
            self._journal.copy_to(target / _JOURNAL)
            for name in self._lookups.names:
                shutil.copyfile(self.path / _SEGMENTS / name, target / _SEGMENTS / name)

    def __len__(self) -> int:
        with self._reading():
            return len(self._lookups.live())

    # What follows is done under the lock.

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Do what is done here alone, and all of it or nothing."""
        with self._lock, self._doubting():
            try:
                self._lookups.tell_failure()
                with self._journal.write():
                    self._lookups.catch_up()
                    yield
            except BaseException:
                self._lookups.forget()
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._doubting(), ExitStack() as stack:
            stack.enter_context(self._journal.read())
            while True:
                try:
                    self._lookups.catch_up()
                    break
                except InputError:
                    # Another process may have merged and removed what was listed before.
                    listed = self._journal.segments()
                    stack.close()
                    stack.enter_context(self._journal.read())
                    if self._journal.segments() == listed:
                        raise
            yield

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Look whether the journal is damaged when what it says makes no sense."""
        try:
            yield
        except (LookupError, MemoryError, OverflowError, TypeError, ValueError):
            self._journal.verify()
            raise

    def _judge(self, documents: Sequence[tuple[str, str]], gone: Sequence[int] = ()) -> Judgement:
        """Hold new documents against all that is there, but for some that are gone."""
        facts = self._journal.facts()
        texts = Texts.from_bytes([text.encode() for _, text in documents])
        units = cut_all_units(texts, self.options, self._threads)
        offsets = units.offsets
        records = [
            Record(
                facts["next_document"] + i,
                name,
                facts["next_unit"] + int(offsets[i]),
                one,
                units.starts[offsets[i] : offsets[i + 1]] - texts.offsets[i],
                units.stops[offsets[i] : offsets[i + 1]] - texts.offsets[i],
                np.full(offsets[i + 1] - offsets[i], OPEN, np.uint8),
                np.empty(0, ROW),
            )
            for i, ((name, _), one) in enumerate(zip(documents, _split(texts), strict=True))
        ]
        live = self._lookups.live()
        ranges = live[~np.isin(live[:, 0], gone)]
        return self._hold(records, ranges, facts["next_passage"])

    def _hold(self, opened: list[Record], ranges: NDArray[np.int64], passage: int) -> Judgement:
        return judge(
            opened, self._journal, self._lookups, ranges, self.options, passage, self._threads
        )

    def _write(self, judged: Judgement, checksums: Sequence[bytes]) -> None:
        """Write what was judged, and put it under its keys."""
        if not judged.records:
            return
        facts = self._journal.facts()
        last = judged.records[-1]
        passages = [one.rows["passage"].max(initial=-1) for one in judged.records]
        self._journal.add(judged.records, checksums)
        self._journal.set_facts(
            {
                **facts,
                "next_document": last.number + 1,
                "next_unit": last.first_unit + len(last.starts),
                "next_passage": max(facts["next_passage"], int(max(passages)) + 1),
            }
        )
        self._lookups.add(judged.put()[0])

    def _remove(self, numbers: Sequence[int]) -> list[Judged]:
        """Remove documents, and judge again what pointed to them."""
        names = self._journal.names(numbers)
        pointing = self._journal.remove(numbers)
        self._lookups.forget_removed()
        gone = np.array(sorted(numbers), np.int64)
        judged: list[Judged] = []
        for number in pointing:
            (record,) = self._journal.documents([number])
            judged += self._judge_again(record, gone, names)
        return judged

    def _judge_again(self, record: Record, gone: Positions, names: dict[int, str]) -> list[Judged]:
        """Judge the units of a document that pointed to documents that are gone."""
        lost = np.isin(record.rows["canonical"], gone)
        open_units = record.rows["unit"][lost]
        states = record.states.copy()
        states[open_units] = OPEN
        left = replace(record, states=states, rows=record.rows[~lost])
        live = self._lookups.live()
        facts = self._journal.facts()
        found = self._hold([left], live[live[:, 0] <= record.number], facts["next_passage"])
        (after,) = found.records
        rows = np.concatenate([left.rows, after.rows])
        after = replace(after, rows=rows[np.argsort(rows["unit"], kind="stable")])
        old_leaders = record.first_unit + open_units[record.states[open_units] == GOES]
        postings, news = found.put(old_leaders)
        self._journal.judge(after, (news[0] - record.first_unit, news[1] - record.first_unit))
        passages = int(found.records[0].rows["passage"].max(initial=-1)) + 1
        if passages > facts["next_passage"]:
            self._journal.set_facts({**facts, "next_passage": passages})
        self._lookups.add(postings)
        now = {(row.start, row.stop): row for row in found.results[0].duplicates}
        before = self._list_rows(record, names)
        return [
            Judged(row.document, row.start, row.stop, row.canonical, now.get((row.start, row.stop)))
            for row, is_lost in zip(before, lost.tolist(), strict=True)
            if is_lost
        ]

    def _recall(self, numbers: Iterable[int]) -> list[Result]:
        """Return what was said of documents that are there."""
        records = self._journal.documents(list(numbers))
        return [self._recall_one(record) for record in records]

    def _recall_one(self, record: Record) -> Result:
        texts, units = join_records([record])
        rows = record.rows
        none = np.zeros(len(rows), np.int64)
        found = Duplicates(
            rows["unit"].astype(np.int64),
            none,
            none,
            none,
            rows["score"].astype(np.float64),
            rows["containment"].astype(np.float64),
            rows["kind"].astype(np.uint8),
            rows["passage"].astype(np.int64),
            record.states != SHORT,
            0,
        )
        corpus = cut_duplicates(texts, units, found, Filters())
        (result,) = list_results([(record.id, record.text.decode())], corpus, self.options)
        return replace(result, duplicates=tuple(self._list_rows(record, {}, result)))

    def _list_rows(
        self, record: Record, names: dict[int, str], result: Result | None = None
    ) -> list[Duplicate]:
        """Return the rows of a document as the map has them."""
        rows = record.rows
        canonicals = set(np.unique(rows["canonical"]).tolist()) - names.keys()
        known = names | self._journal.names(canonicals)
        text = record.text
        spans = [
            (len(text[:start].decode()), len(text[:stop].decode()))
            for start, stop in zip(
                record.starts[rows["unit"]].tolist(),
                record.stops[rows["unit"]].tolist(),
                strict=True,
            )
        ]
        return [
            Duplicate(
                record.id,
                start,
                stop,
                Span(known[int(row["canonical"])], int(row["start"]), int(row["stop"])),
                KINDS[int(row["kind"])],
                float(row["score"]),
                float(row["containment"]),
                int(row["passage"]),
            )
            for (start, stop), row in zip(spans, rows, strict=True)
        ]


def _split(texts: Texts) -> list[bytes]:
    data = texts.data.tobytes()
    bounds = texts.offsets.tolist()
    return [data[start:stop] for start, stop in pairwise(bounds)]


def _check_options(options: Options) -> None:
    """Refuse options that an index cannot keep to."""
    if options.keep != "first":
        raise OptionsError("keep", options.keep, "first: what was acknowledged stays")
    if options.scope != "corpus":
        raise OptionsError("scope", options.scope, "corpus: an index is about all documents")


def _facts(options: Options) -> dict[str, Any]:
    return {
        "options": options.to_mapping(),
        "unicode": folding_table().unicode_version,
        "signatures": f"{SCHEME}, seed {SEED}",
        "next_document": 0,
        "next_unit": 0,
        "next_passage": 0,
    }


def _read_options(path: str | Path, journal: Journal, options: Options | None) -> Options:
    """Return what an index was made with; refuse one that this version would read otherwise."""
    facts = journal.facts()
    stored = Options.from_mapping(facts["options"])
    _check_options(stored)
    for name, own in (
        ("unicode", folding_table().unicode_version),
        ("signatures", f"{SCHEME}, seed {SEED}"),
    ):
        if facts[name] != own:
            raise InputError(str(path), f"was made with {name} {facts[name]}; here it is {own}")
    if options is not None:
        for name, value in options.to_mapping().items():
            if value != facts["options"][name]:
                raise OptionsError(name, value, f"{facts['options'][name]!r}, as {path} has it")
    return stored
