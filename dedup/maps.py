"""The map of a corpus as JSON Lines: a record for each document, and its rows."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from dedup.cleaned import count_canonicals
from dedup.columns import Bytes, Positions, Texts
from dedup.corpus import CleanedCorpus
from dedup.kernels import kernel
from dedup.kinds import KINDS
from dedup.slices import cut_many_slices, map_slices
from dedup.units import find_documents

# Documents whose lines are written at once: so many bytes of them, with what
# their records, rows and kept segments take for bytes of their own. A document
# is never parted.
_PART_BYTES = 1 << 22
_LINE_BYTES = 128

# What stands before each value of a record and of a row, and the words that
# are values. The kinds come last: a kernel kept on disk knows where each label
# is, and would not notice another kind.
_LABELS = Texts.from_bytes(
    label.encode()
    for label in (
        '{"document":',
        ',"length":',
        ',"removed_chars":',
        ',"share":',
        ',"checksum":',
        ',"cleaned_checksum":',
        ',"kept":[',
        '],"removed_text":[',
        '{"document":',
        ',"start":',
        ',"stop":',
        ',"canonical":{"document":',
        ',"start":',
        ',"stop":',
        '},"kind":',
        ',"containment":',
        ',"passage":',
        ',"removed":',
        "false}\n",
        "true}\n",
        *(f'"{kind}","score":' for kind in KINDS),
    )
)
_RECORD, _ROW, _FLAG, _KIND = 0, 8, 18, 20

# The most that lines take beside strings: labels, numbers of up to 19 digits,
# two checksums or shares, a flag.
_RECORD_BYTES, _ROW_BYTES, _SEGMENT_BYTES = 300, 300, 64

# Digits behind the point of scores, as in `results`.
_SCORE_DIGITS = 6
_ONE = 1_000_000

# What stands behind the backslash of an escaped byte, 0 for a byte that is none.
_ESCAPES = np.zeros(256, np.uint8)
_ESCAPES[:32] = ord("u")
for _byte, _letter in zip(b'\b\t\n\f\r"\\', b'btnfr"\\', strict=True):
    _ESCAPES[_byte] = _letter

_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@kernel
def _put(out, at, text, start, stop):
    # Positions without a sign need no test for being counted from the end: with
    # one, the lines took twice as long. Words of eight bytes would save a
    # twelfth of the whole map, and read and write past the ends.
    source = np.uint64(start)
    target = np.uint64(at)
    for k in range(np.uint64(stop - start)):
        out[target + k] = text[source + k]
    return at + stop - start


@kernel
def _put_number(out, at, number):
    # Without a sign, or division would look which way to round.
    rest = np.uint64(number)
    end = np.uint64(at + 1)
    limit = np.uint64(10)
    # Numbers have 19 digits at most, so that the limit does not overflow.
    while rest >= limit:
        limit *= np.uint64(10)
        end += np.uint64(1)
    to = end
    for _ in range(np.uint64(at), end):
        to -= np.uint64(1)
        tens = rest // np.uint64(10)
        out[to] = np.uint8(48) + np.uint8(rest - np.uint64(10) * tens)
        rest = tens
    return np.int64(end)


@kernel
def _put_share(out, at, millionths):
    """Write a share of up to 1 as orjson writes the float.

    No zeros stand at the end but one; below 0.00001 stands an exponent.
    """
    if 0 < millionths < 10:
        out[at] = 48 + millionths
        out[at + 1] = 101
        out[at + 2] = 45
        out[at + 3] = 54
        return at + 4
    out[at] = 48 + millionths // _ONE
    out[at + 1] = 46
    rest = millionths % _ONE
    if rest == 0:
        out[at + 2] = 48
        return at + 3
    end = at + 8
    while rest % 10 == 0:
        rest //= 10
        end -= 1
    for k in range(1, end - at - 1):
        out[end - k] = 48 + rest % 10
        rest //= 10
    return end


@kernel
def _put_digest(out, at, digests, row):
    out[at] = 34
    for k in range(8):
        byte = digests[row, k]
        out[at + 1 + 2 * k] = _HEX_DIGITS[byte >> 4]
        out[at + 2 + 2 * k] = _HEX_DIGITS[byte & 15]
    out[at + 17] = 34
    return at + 18


@kernel
def _put_string(out, at, text, start, stop):
    """Write a string of JSON as orjson writes it: what need not be escaped stays UTF-8."""
    out[at] = 34
    # A look into a table takes 0.6 ns a byte and three comparisons 1.5; eight
    # bytes at a time gain nothing in text with a line break in each 60. Without
    # a sign positions need no test for being counted from the end.
    to = np.uint64(at + 1)
    for i in range(np.uint64(start), np.uint64(stop)):
        byte = text[i]
        letter = _ESCAPES[byte]
        if letter == 0:
            out[to] = byte
            to += np.uint64(1)
            continue
        out[to] = 92
        out[to + np.uint64(1)] = letter
        to += np.uint64(2)
        if letter == 117:
            out[to] = 48
            out[to + np.uint64(1)] = 48
            out[to + np.uint64(2)] = _HEX_DIGITS[byte >> 4]
            out[to + np.uint64(3)] = _HEX_DIGITS[byte & 15]
            to += np.uint64(4)
    out[to] = 34
    return np.int64(to) + 1


@kernel
def _bound_string(text, start, stop):
    """Return how many bytes `_put_string` writes at most: each escape counts six."""
    part = text[start:stop]
    count = np.int64(0)
    # These comparisons become vectors, 0.1 ns a byte; with the lengths told
    # apart, 1 ns.
    for i in range(len(part)):
        byte = part[i]
        count += (byte < 32) | (byte == 34) | (byte == 92)
    return stop - start + 5 * count + 2


@kernel
def _measure_part(
    begin,
    data,
    text_offsets,
    names,
    name_offsets,
    kept_starts,
    kept_stops,
    kept_offsets,
    unit_offsets,
    unit_starts,
    unit_stops,
    row_units,
    canonical_documents,
    row_offsets,
    duplicate_chars,
    cleaned_offsets,
    changed,
):
    """Count what lines of documents say; return the most bytes they take."""
    most = np.int64(0)
    row = 0
    last_canonical = -1
    canonical_bytes = np.int64(0)
    for i in range(len(text_offsets) - 1):
        document = begin + i
        at = text_offsets[i]
        kept_bytes = np.int64(0)
        for k in range(kept_offsets[i], kept_offsets[i + 1]):
            if kept_starts[k] > at:
                most += _bound_string(data, at, kept_starts[k])
            at = kept_stops[k]
            kept_bytes += at - kept_starts[k]
        if at < text_offsets[i + 1]:
            most += _bound_string(data, at, text_offsets[i + 1])
        changed[i] = kept_bytes < text_offsets[i + 1] - text_offsets[i]
        cleaned_offsets[i + 1] = cleaned_offsets[i] + (kept_bytes if changed[i] else 0)
        name_bytes = _bound_string(names, name_offsets[document], name_offsets[document + 1])
        segment_count = kept_offsets[i + 1] - kept_offsets[i]
        most += _RECORD_BYTES + name_bytes + (segment_count + 1) * _SEGMENT_BYTES
        chars = np.int64(0)
        while row < len(row_units) and row_units[row] < unit_offsets[document + 1]:
            unit = row_units[row]
            canonical = canonical_documents[row]
            # Those of a passage stand in one document.
            if canonical != last_canonical:
                last_canonical = canonical
                canonical_bytes = _bound_string(
                    names, name_offsets[canonical], name_offsets[canonical + 1]
                )
            chars += unit_stops[unit] - unit_starts[unit]
            most += _ROW_BYTES + name_bytes + canonical_bytes
            row += 1
        row_offsets[i + 1] = row
        duplicate_chars[i] = chars
    return most


@kernel
def _join_kept(data, kept_starts, kept_stops, kept_offsets, changed, out):
    target = np.uint64(0)
    for i in range(len(changed)):
        if changed[i]:
            for k in range(kept_offsets[i], kept_offsets[i + 1]):
                source = np.uint64(kept_starts[k])
                for j in range(np.uint64(kept_stops[k] - kept_starts[k])):
                    out[target + j] = data[source + j]
                target += np.uint64(kept_stops[k] - kept_starts[k])


@kernel
def _write_part(
    begin,
    data,
    text_offsets,
    names,
    name_offsets,
    lengths,
    shares,
    digests,
    cleaned_digests,
    kept_starts,
    kept_stops,
    kept_offsets,
    point_starts,
    point_stops,
    additions,
    addition_offsets,
    row_offsets,
    row_units,
    canonical_starts,
    canonical_stops,
    canonical_documents,
    unit_starts,
    unit_stops,
    kinds,
    scores,
    containments,
    passages,
    removed,
    labels,
    label_offsets,
    out,
):
    """Write the lines of documents; return how many bytes they are."""
    at = np.int64(0)
    last_canonical = -1
    canonical_start = np.int64(0)
    canonical_stop = np.int64(0)
    for i in range(len(lengths)):
        document = begin + i
        at = _put(out, at, labels, label_offsets[_RECORD], label_offsets[_RECORD + 1])
        # Where a name stands already it is taken from there.
        name_start = at
        at = _put_string(out, at, names, name_offsets[document], name_offsets[document + 1])
        name_stop = at
        kept_chars = np.int64(0)
        for k in range(kept_offsets[i], kept_offsets[i + 1]):
            kept_chars += point_stops[k] - point_starts[k]
        at = _put(out, at, labels, label_offsets[_RECORD + 1], label_offsets[_RECORD + 2])
        at = _put_number(out, at, lengths[i])
        at = _put(out, at, labels, label_offsets[_RECORD + 2], label_offsets[_RECORD + 3])
        at = _put_number(out, at, lengths[i] - kept_chars)
        at = _put(out, at, labels, label_offsets[_RECORD + 3], label_offsets[_RECORD + 4])
        at = _put_share(out, at, shares[i])
        at = _put(out, at, labels, label_offsets[_RECORD + 4], label_offsets[_RECORD + 5])
        at = _put_digest(out, at, digests, i)
        at = _put(out, at, labels, label_offsets[_RECORD + 5], label_offsets[_RECORD + 6])
        at = _put_digest(out, at, cleaned_digests, i)
        at = _put(out, at, labels, label_offsets[_RECORD + 6], label_offsets[_RECORD + 7])
        kept_chars = 0
        for k in range(kept_offsets[i], kept_offsets[i + 1]):
            out[at] = 91
            at = _put_number(out, at + 1, point_starts[k])
            out[at] = 44
            at = _put_number(out, at + 1, point_stops[k])
            out[at] = 44
            at = _put_number(out, at + 1, kept_chars)
            out[at] = 93
            out[at + 1] = 44
            at += 2
            kept_chars += point_stops[k] - point_starts[k]
        # The last comma goes.
        at -= kept_offsets[i + 1] > kept_offsets[i]
        at = _put(out, at, labels, label_offsets[_RECORD + 7], label_offsets[_RECORD + 8])
        list_start = at
        start = text_offsets[i]
        for k in range(kept_offsets[i], kept_offsets[i + 1]):
            if kept_starts[k] > start:
                at = _put_string(out, at, data, start, kept_starts[k])
                out[at] = 44
                at += 1
            start = kept_stops[k]
        if start < text_offsets[i + 1]:
            at = _put_string(out, at, data, start, text_offsets[i + 1])
            out[at] = 44
            at += 1
        at -= at > list_start
        out[at] = 93
        at = _put(out, at + 1, additions, addition_offsets[i], addition_offsets[i + 1])
        out[at] = 125
        out[at + 1] = 10
        at += 2
        for row in range(row_offsets[i], row_offsets[i + 1]):
            at = _put(out, at, labels, label_offsets[_ROW], label_offsets[_ROW + 1])
            at = _put(out, at, out, name_start, name_stop)
            at = _put(out, at, labels, label_offsets[_ROW + 1], label_offsets[_ROW + 2])
            at = _put_number(out, at, unit_starts[row_units[row]])
            at = _put(out, at, labels, label_offsets[_ROW + 2], label_offsets[_ROW + 3])
            at = _put_number(out, at, unit_stops[row_units[row]])
            at = _put(out, at, labels, label_offsets[_ROW + 3], label_offsets[_ROW + 4])
            canonical = canonical_documents[row]
            if canonical == document:
                at = _put(out, at, out, name_start, name_stop)
            elif canonical == last_canonical:
                at = _put(out, at, out, canonical_start, canonical_stop)
            else:
                canonical_start = at
                at = _put_string(
                    out, at, names, name_offsets[canonical], name_offsets[canonical + 1]
                )
                canonical_stop = at
                last_canonical = canonical
            at = _put(out, at, labels, label_offsets[_ROW + 4], label_offsets[_ROW + 5])
            at = _put_number(out, at, canonical_starts[row])
            at = _put(out, at, labels, label_offsets[_ROW + 5], label_offsets[_ROW + 6])
            at = _put_number(out, at, canonical_stops[row])
            at = _put(out, at, labels, label_offsets[_ROW + 6], label_offsets[_ROW + 7])
            word = _KIND + np.int64(kinds[row])
            at = _put(out, at, labels, label_offsets[word], label_offsets[word + 1])
            at = _put_share(out, at, scores[row])
            at = _put(out, at, labels, label_offsets[_ROW + 7], label_offsets[_ROW + 8])
            at = _put_share(out, at, containments[row])
            at = _put(out, at, labels, label_offsets[_ROW + 8], label_offsets[_ROW + 9])
            at = _put_number(out, at, passages[row])
            at = _put(out, at, labels, label_offsets[_ROW + 9], label_offsets[_ROW + 10])
            word = _FLAG + np.int64(removed[row])
            at = _put(out, at, labels, label_offsets[word], label_offsets[word + 1])
    return at


def map_lines(
    corpus: CleanedCorpus,
    ids: Texts,
    first: int,
    file_of: Mapping[int, Mapping[str, Any]],
    threads: int = 1,
) -> Iterator[bytes]:
    """Yield the map of the documents from `first` on, many lines at a time.

    Parameters
    ----------
    ids
        Of all documents.
    first
        How many documents at the beginning are the reference, which has no map.
    file_of
        What the record of a document says of its file, where it says something;
        under names that no record has already.
    threads
        In how many parts are made, a few ahead of the one that is asked for.

    Notes
    -----
    Nothing made here is as large as a column of the corpus, whose arrays may be
    mapped from disk: only the lines of a few parts, and what they were written
    from. A document is in one part, however long.

    Kernels write the lines, without the GIL. It is held for checksums, 0.4 us a
    text, and where a part becomes bytes: in sum a fourth of the time.
    """
    texts, units, rows, kept = corpus.texts, corpus.units, corpus.rows, corpus.kept

    def weigh(begin: int, end: int) -> Positions:
        block = slice(first + begin, first + end + 1)
        row_counts = np.diff(np.searchsorted(rows.units, units.offsets[block]))
        lines = row_counts + np.diff(kept.offsets[block]) + 1
        weights: Positions = np.diff(texts.offsets[block]) + _LINE_BYTES * lines
        return weights

    def work(begin: int, end: int) -> bytes:
        return _write_lines(corpus, ids, slice(first + begin, first + end), file_of)

    bounds = cut_many_slices(len(texts) - first, weigh, _PART_BYTES)
    yield from map_slices(work, bounds, threads)


def _write_lines(
    corpus: CleanedCorpus,
    ids: Texts,
    documents: slice,
    file_of: Mapping[int, Mapping[str, Any]],
) -> bytes:
    """Return the records of documents, each with its rows behind it."""
    texts, kept, points, rows = corpus.texts, corpus.kept, corpus.points, corpus.rows
    count = documents.stop - documents.start
    first_unit, last_unit = corpus.units.offsets[[documents.start, documents.stop]]
    part = slice(*np.searchsorted(rows.units, [first_unit, last_unit]).tolist())
    text_offsets = texts.offsets[documents.start : documents.stop + 1]
    kept_offsets = kept.offsets[documents.start : documents.stop + 1]
    row_offsets, cleaned_offsets = np.zeros((2, count + 1), np.int64)
    duplicate_chars = np.empty(count, np.int64)
    changed = np.empty(count, np.bool_)
    canonical_documents = find_documents(corpus.units, rows.canonicals[part])
    canonical_points = count_canonicals(
        texts.data,
        corpus.units,
        points,
        rows.canonicals[part],
        rows.canonical_starts[part],
        rows.canonical_stops[part],
    )
    most = _measure_part(
        documents.start,
        texts.data,
        text_offsets,
        ids.data,
        ids.offsets,
        kept.starts,
        kept.stops,
        kept_offsets,
        corpus.units.offsets,
        points.unit_starts,
        points.unit_stops,
        rows.units[part],
        canonical_documents,
        row_offsets,
        duplicate_chars,
        cleaned_offsets,
        changed,
    )
    cleaned = np.empty(cleaned_offsets[-1], np.uint8)
    _join_kept(texts.data, kept.starts, kept.stops, kept_offsets, changed, cleaned)
    digests = _digests(texts.data, text_offsets)
    cleaned_digests = digests.copy()
    cleaned_digests[changed] = _digests(cleaned, cleaned_offsets)[changed]
    lengths = points.lengths[documents]
    additions = _encode_additions(file_of, range(documents.start, documents.stop))
    out = np.empty(most + len(additions.data), np.uint8)
    size = _write_part(
        documents.start,
        texts.data,
        text_offsets,
        ids.data,
        ids.offsets,
        lengths,
        _round_shares(duplicate_chars / np.maximum(lengths, 1)),
        digests,
        cleaned_digests,
        kept.starts,
        kept.stops,
        kept_offsets,
        points.kept_starts,
        points.kept_stops,
        additions.data,
        additions.offsets,
        row_offsets,
        rows.units[part],
        *canonical_points,
        canonical_documents,
        points.unit_starts,
        points.unit_stops,
        rows.kinds[part],
        _round_shares(rows.scores[part]),
        _round_shares(rows.containments[part]),
        rows.passages[part],
        corpus.removed[part],
        _LABELS.data,
        _LABELS.offsets,
        out,
    )
    return out[:size].tobytes()


def _digests(data: Bytes, offsets: Positions) -> Bytes:
    """Return the xxh3 checksums of texts, uint8[text_count, 8], the highest byte first."""
    view = data.data
    borders = pairwise(offsets.tolist())
    digests = b"".join([xxhash.xxh3_64_digest(view[start:stop]) for start, stop in borders])
    return np.frombuffer(digests, np.uint8).reshape(-1, 8)


def _round_shares(shares: NDArray[np.float64]) -> Positions:
    """Round shares of up to 1 to millionths as `round` does."""
    scaled = shares * _ONE
    millionths = np.rint(scaled).astype(np.int64)
    # The product is rounded as well: where it is half of a millionth, the share
    # may lie a little below it or above.
    for i in np.flatnonzero(scaled - np.floor(scaled) == 0.5).tolist():
        millionths[i] = round(round(float(shares[i]), _SCORE_DIGITS) * _ONE)
    return millionths


def _encode_additions(file_of: Mapping[int, Mapping[str, Any]], documents: range) -> Texts:
    """Return what stands at the end of each record, a comma before it."""
    additions = [b""] * len(documents)
    if file_of:
        for i, document in enumerate(documents):
            if file := file_of.get(document):
                additions[i] = b"," + orjson.dumps(file)[1:-1]
    return Texts.from_bytes(additions)
