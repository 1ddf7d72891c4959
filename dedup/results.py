"""What a cleaning returns: cleaned text, and the map in code points of the original."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dedup.errors import MapError
from dedup.kinds import Kind

# Digits behind the point of scores in the map.
_SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open span of a document's original text, in code points."""

    document: str
    start: int
    stop: int

    def to_mapping(self) -> dict[str, Any]:
        """Return the span as it goes into JSON."""
        return {"document": self.document, "start": self.start, "stop": self.stop}


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One row of the map: a unit that stands somewhere else too.

    Attributes
    ----------
    document, start, stop
        Where it stands, in code points of the original text, half-open.
    canonical
        The copy that stays.
    kind
        ``exact``: the same text; ``folded``: the same once folded; ``near``.
    score
        Exact Jaccard of the shingle sets, 0 to 1.
    containment
        Shared shingles over the smaller set, 0 to 1.
    passage
        Consecutive duplicates whose canonicals are consecutive have the same.
    removed
        Whether it was taken out.
    """

    document: str
    start: int
    stop: int
    canonical: Span
    kind: Kind
    score: float
    containment: float
    passage: int
    removed: bool = True

    def to_mapping(self) -> dict[str, Any]:
        """Return the row as it goes into JSON."""
        return {
            "document": self.document,
            "start": self.start,
            "stop": self.stop,
            "canonical": self.canonical.to_mapping(),
            "kind": self.kind,
            "score": round(self.score, _SCORE_DIGITS),
            "containment": round(self.containment, _SCORE_DIGITS),
            "passage": self.passage,
            "removed": self.removed,
        }


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a run.

    Attributes
    ----------
    chars, removed_chars, duplicate_chars
        Code points of the original, taken out, and in duplicates.
    units
        Units in all: ``compared_units`` and ``short_units``, too short for it.
    duplicates
        Units that are duplicates.
    capped_buckets
        Buckets of the index that filled, so that some pairs went unseen.
    recall
        Chance with which a pair exactly at the threshold was compared.
    """

    chars: int
    removed_chars: int
    duplicate_chars: int
    units: int
    compared_units: int
    short_units: int
    duplicates: int
    capped_buckets: int
    recall: float

    @property
    def share(self) -> float:
        """Share of duplicated text, 0 to 1."""
        return self.duplicate_chars / self.chars if self.chars else 0.0

    def to_mapping(self) -> dict[str, Any]:
        """Return the figures as they go into JSON."""
        return {
            "chars": self.chars,
            "removed_chars": self.removed_chars,
            "duplicate_chars": self.duplicate_chars,
            "share": round(self.share, _SCORE_DIGITS),
            "units": self.units,
            "compared_units": self.compared_units,
            "short_units": self.short_units,
            "duplicates": self.duplicates,
            "capped_buckets": self.capped_buckets,
            "recall": round(self.recall, _SCORE_DIGITS),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """A cleaned document and its map.

    Attributes
    ----------
    document
        Its id.
    original, text
        The text that came and the cleaned text.
    duplicates
        Rows of the map, in reading order.
    kept
        ``(start, stop, cleaned_start)`` of each segment that stays, in code
        points; rising.
    stats
        Figures.
    """

    document: str
    original: str
    text: str
    duplicates: tuple[Duplicate, ...]
    kept: tuple[tuple[int, int, int], ...]
    stats: Stats

    def cleaned_offset(self, offset: int) -> int | None:
        """Translate an offset of the original; None where the text was taken out.

        Raises
        ------
        IndexError
            When the original has no such offset; its length is one.
        """
        return translate_offset(self.kept, offset, len(self.original))

    def original_offset(self, offset: int) -> int:
        """Translate an offset of the cleaned text.

        Raises
        ------
        IndexError
            When the cleaned text has no such offset; its length is one.
        """
        if not 0 <= offset <= len(self.text):
            raise IndexError(f"offset {offset} of a text of {len(self.text)} code points")
        if offset == len(self.text):
            return len(self.original)
        start, _, cleaned_start = self.kept[
            bisect_right(self.kept, offset, key=lambda segment: segment[2]) - 1
        ]
        return start + offset - cleaned_start

    def to_mapping(self) -> dict[str, Any]:
        """Return cleaned text and map as they go into JSON."""
        return {
            "document": self.document,
            "text": self.text,
            "duplicates": [duplicate.to_mapping() for duplicate in self.duplicates],
            "kept": [list(segment) for segment in self.kept],
            "stats": self.stats.to_mapping(),
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], original: str) -> Self:
        """Read what `to_mapping` returned, or JSON of it.

        Parameters
        ----------
        values
            What is in it beside the fields of a result is left alone; `text` may be
            missing.
        original
            The text that was cleaned.

        Raises
        ------
        MapError
            When a field is missing or is none, or it is another text's.
        """
        try:
            rows = [
                Duplicate(**{**row, "canonical": Span(**row["canonical"])})
                for row in values["duplicates"]
            ]
            kept = tuple((int(start), int(stop), int(at)) for start, stop, at in values["kept"])
            names = Stats.__slots__
            stats = Stats(**{name: values["stats"][name] for name in names})
            document = str(values["document"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MapError("result", f"not what a cleaning returns: {error!r}") from error
        text = "".join(original[start:stop] for start, stop, _ in kept)
        if stats.chars != len(original) or values.get("text", text) != text:
            raise MapError(document, "is the result of another text")
        return cls(document, original, text, tuple(rows), kept, stats)

    def to_json(self) -> bytes:
        """Return cleaned text and map as one JSON object, UTF-8."""
        import orjson

        return orjson.dumps(self.to_mapping())

    def document_record(self) -> dict[str, Any]:
        """Return the document's line of the map: with the rows, all that `restore` needs."""
        return {
            "document": self.document,
            "length": len(self.original),
            "removed_chars": self.stats.removed_chars,
            "share": round(self.stats.share, _SCORE_DIGITS),
            "checksum": checksum(self.original),
            "cleaned_checksum": checksum(self.text),
            "kept": [list(segment) for segment in self.kept],
            "removed_text": list(_removed_text(self.original, self.kept)),
        }

    def map_lines(self, file: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """Return the map as JSON Lines: the document's record, then its duplicates.

        Parameters
        ----------
        file
            What the record should say of the file the text came from.
        """
        import orjson

        yield orjson.dumps(
            {**self.document_record(), **(file or {})}, option=orjson.OPT_APPEND_NEWLINE
        )
        for row in self.duplicates:
            yield orjson.dumps(row.to_mapping(), option=orjson.OPT_APPEND_NEWLINE)


def checksum(text: str) -> str:
    """Return the xxh3 checksum of a text's UTF-8, 16 hexadecimal digits."""
    import xxhash

    return xxhash.xxh3_64_hexdigest(text.encode())


def translate_offset(kept: Sequence[tuple[int, int, int]], offset: int, length: int) -> int | None:
    """Translate an offset of an original of `length` by its kept segments."""
    if not 0 <= offset <= length:
        raise IndexError(f"offset {offset} of a text of {length} code points")
    i = bisect_right(kept, offset, key=lambda segment: segment[0]) - 1
    if i >= 0 and offset < kept[i][1]:
        return kept[i][2] + offset - kept[i][0]
    if offset < length:
        return None
    return kept[-1][2] + kept[-1][1] - kept[-1][0] if kept else 0


def restore(text: str, record: Mapping[str, Any], source: str = "map") -> str:
    """Rebuild an original from its cleaned text and its record of the map.

    Parameters
    ----------
    text
        The cleaned text.
    record
        Of `Result.document_record`.
    source
        What to call the map in errors.

    Raises
    ------
    MapError
        When the record lacks something, or is of another text.

    Examples
    --------
    >>> record = {"length": 9, "kept": [[0, 3, 0]], "removed_text": [" Aha! "],
    ...           "checksum": checksum("Oh? Aha! "), "cleaned_checksum": checksum("Oh?")}
    >>> restore("Oh?", record)
    'Oh? Aha! '
    """
    try:
        kept = [(int(start), int(stop), int(cleaned)) for start, stop, cleaned in record["kept"]]
        removed = iter([str(part) for part in record["removed_text"]])
        length = int(record["length"])
        sums = str(record["checksum"]), str(record["cleaned_checksum"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MapError(source, f"not the record of a document: {error!r}") from error
    try:
        belongs = checksum(text) == sums[1]
    except UnicodeEncodeError:
        belongs = False
    if not belongs:
        raise MapError(source, "the text is not the cleaned text this map was made with")
    parts = []
    at = 0
    for start, stop, cleaned in kept:
        if start > at:
            parts.append(next(removed, ""))
        parts.append(text[cleaned : cleaned + stop - start])
        at = stop
    if length > at:
        parts.append(next(removed, ""))
    original = "".join(parts)
    try:
        whole = checksum(original) == sums[0]
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise MapError(source, "the map is damaged: it does not give back the original")
    return original


def _removed_text(original: str, kept: Sequence[tuple[int, int, int]]) -> Iterator[str]:
    at = 0
    for start, stop, _ in kept:
        if start > at:
            yield original[at:start]
        at = stop
    if at < len(original):
        yield original[at:]
