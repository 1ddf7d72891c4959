"""Kernels that cut UTF-8 text into paragraphs and sentences.

Requires, of every kernel here: valid UTF-8, and positions on the first byte
of a character. A position `stop` is half open. Nothing is decoded that the
rules do not ask for: the scan goes from stop to stop by a table of first
bytes. All looks back and ahead are bounded or end where the next scan
begins, so time is linear in the bytes whatever the text.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dedup.kernels import kernel

# Classes of characters, kinds of first bytes and flags of words: the values
# of `dedup.tables.sentences`.
OTHER, EXTEND, SPACE, LINE = 0, 1, 2, 3
UPPER, LOWER, LETTER, DENSE, DIGIT = 4, 5, 6, 7, 8
DOT, MARK, ELLIPSIS, STOP = 9, 10, 11, 12
OPEN, QUOTE, CLOSE = 13, 14, 15
COMMA, DASH, BULLET = 16, 17, 18
END = 19
SKIP, HALT, BLOCK, SCRIPT, GAP = 0, 1, 2, 3, 4
BEFORE_NAME, BEFORE_NUMBER, CLOSES_SOME, OPENS, AFTER_ORDINAL, SUFFIX = 1, 2, 4, 8, 16, 32
BEFORE_ORDINAL = 64

# Bytes of the longest word that is looked up, characters passed over between
# a stop and the word after it, bytes of the longest list number, of the longest
# label of a section, and of the longest opening of a reST role.
WORD_BYTES, SKIPPED_CHARS, MARKER_BYTES, LABEL_BYTES, ROLE_BYTES = 24, 8, 12, 24, 32

# What ``_line_sign`` says of a fence.
FENCE = 0x60

# Characters on each side of a space that ends a headline in Chinese or
# Japanese, and bytes in which a paragraph has to show that it is such text.
RUN_BEFORE, RUN_AFTER, SAMPLE_BYTES = 6, 6, 64

# Columns. A line of wrapped text is at most WIDEST and, before a capital, at
# least NARROWEST long; the shorter are verse, menus and tables. Before a letter
# without case or a small one NARROWEST_CASELESS is enough, for small ones even
# LIST_WIDTH in a block of lines of the same length; below stand lists of words.
# The first word of the next line may overhang the longest neighbour by SLACK.
WIDEST, NARROWEST, NARROWEST_CASELESS, LIST_WIDTH, SLACK = 130, 45, 30, 16, 8


TABLE_PATH = Path(__file__).parent / "tables" / "sentences.npz"
# Of the stored table; a test compares. The tables are constants of the
# compiled code, since passing them made each call carry fifty words and the
# whole half as fast. Numba's disk cache knows this file alone, so a new table
# has to change it: here.
TABLE_CRC = 0xAEE0AE6

with np.load(TABLE_PATH) as _stored:
    _BLOCKS, _CLASSES = _stored["blocks"], _stored["classes"]
    _KINDS, _HALTS = _stored["kinds"], _stored["halts"]
    _WORD_KEYS, _WORD_FLAGS = _stored["word_keys"], _stored["word_flags"]


@kernel
def _class_at(data: Any, i: Any) -> Any:
    """Return the class of the character at `i`."""
    byte = np.int64(data[i])
    if byte < 0x80:
        return np.int64(_CLASSES[byte])
    if byte < 0xE0:
        block = byte & 0x1F
        low = data[i + 1]
    elif byte < 0xF0:
        block = (byte & 0x0F) << 6 | data[i + 1] & 0x3F
        low = data[i + 2]
    else:
        block = (byte & 0x07) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | data[i + 2] & 0x3F
        low = data[i + 3]
    return np.int64(_CLASSES[np.int64(_BLOCKS[block]) << 6 | low & 0x3F])


@kernel
def _after(data: Any, i: Any) -> Any:
    """Return the position after the character at `i`."""
    byte = data[i]
    return i + 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)


@kernel
def _before(data: Any, i: Any) -> Any:
    """Return the position of the character that ends at `i`."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@kernel
def _skip_white(data: Any, i: Any, stop: Any) -> Any:
    while i < stop:
        if data[i] != 0x20:
            cls = _class_at(data, i)
            if cls != SPACE and cls != LINE:
                break
        i = _after(data, i)
    return i


@kernel
def _word_flags(data: Any, start: Any, stop: Any) -> Any:
    """Return the flags of a word, 0 for one that is not known."""
    if stop - start > WORD_BYTES or stop <= start:
        return 0
    key = np.uint64(0xCBF29CE484222325)
    for i in range(start, stop):
        key = (key ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    mask = np.uint64(len(_WORD_KEYS) - 1)
    slot = (key >> np.uint64(20)) & mask
    while _WORD_KEYS[slot] != 0:
        if _WORD_KEYS[slot] == key:
            return np.int64(_WORD_FLAGS[slot])
        slot = (slot + np.uint64(1)) & mask
    return 0


@kernel
def _word_stop(data: Any, i: Any, stop: Any) -> Any:
    """Return where the letters from `i` end, or a place past the longest known word."""
    limit = min(stop, i + WORD_BYTES + 1)
    while i < limit:
        cls = _class_at(data, i)
        if cls != UPPER and cls != LOWER and cls != LETTER and cls != EXTEND:
            break
        i = _after(data, i)
    return i


@kernel
def _is_role(data: Any, start: Any, stop: Any) -> Any:
    """Say whether a reST role with its text begins at `start`: ":ref:`x`"."""
    i = start + 1
    limit = min(stop - 1, start + ROLE_BYTES)
    while i < limit:
        byte = data[i]
        if byte == 0x3A and i > start + 1 and data[i + 1] == 0x60:
            return True
        if not (
            0x61 <= byte | 0x20 <= 0x7A
            or 0x30 <= byte <= 0x3A
            or byte == 0x2B
            or byte == 0x2D
            or byte == 0x2E
            or byte == 0x5F
        ):
            return False
        i += 1
    return False


@kernel
def _next_word(data: Any, i: Any, stop: Any) -> tuple[Any, Any]:
    """Return where the word after a stop begins, and its class.

    A comma or a stop that comes first decides and is returned instead. The
    colon of a role is none.
    """
    i = _skip_white(data, i, stop)
    for _ in range(SKIPPED_CHARS):
        if i >= stop:
            return i, END
        cls = _class_at(data, i)
        if not (OPEN <= cls <= CLOSE or cls == DASH or EXTEND <= cls <= LINE):
            if cls == COMMA and data[i] == 0x3A and _is_role(data, i, stop):
                return i, OTHER
            return i, cls
        i = _after(data, i)
    return i, (_class_at(data, i) if i < stop else END)


@kernel
def _word_start(data: Any, i: Any, unit: Any) -> Any:
    """Return where the letters that end at `i` begin, or a place past the longest known word."""
    stop = i
    while i > unit and stop - i <= WORD_BYTES:
        before = _before(data, i)
        cls = _class_at(data, before)
        if cls != UPPER and cls != LOWER and cls != LETTER and cls != EXTEND:
            break
        i = before
    return i


@kernel
def _opens(data: Any, i: Any, stop: Any) -> Any:
    """Say whether the word at `i` opens sentences; a letter with a dot is an initial."""
    beyond = _word_stop(data, i, stop)
    if beyond < stop and data[beyond] == 0x2E and beyond == _after(data, i):
        return False
    return _word_flags(data, i, beyond) & OPENS != 0


@kernel
def _leads_label(data: Any, unit: Any, start: Any, bare: Any) -> Any:
    """Say whether only signs and at most one word stand before the number at `start`.

    None if it has to be `bare`. A word that opens sentences is no label ("In
    1984. He left."), nor is one without a capital that is not known: in scripts
    without capitals whole sentences are as short.
    """
    i = unit
    word_start, word_stop = -1, -1
    cls_first, counted, apart = OTHER, False, False
    while i < start:
        cls = _class_at(data, i)
        beyond = _after(data, i)
        if cls == DENSE or cls == COMMA:
            return False
        if UPPER <= cls <= LETTER:
            if bare or (word_stop >= 0 and word_stop < i):
                return False
            if word_stop < 0:
                word_start, cls_first = i, cls
            word_stop = beyond
        elif cls == EXTEND and word_stop == i:
            word_stop = beyond
        apart = apart or (counted and (cls == SPACE or cls == LINE))
        counted = counted or cls == DIGIT
        i = beyond
    if word_stop < 0:
        return True
    flags = _word_flags(data, word_start, word_stop)
    return not apart and (flags & BEFORE_NUMBER != 0 or (cls_first == UPPER and flags & OPENS == 0))


@kernel
def _dot_ends(data: Any, unit: Any, dot: Any, after: Any, stop: Any) -> Any:
    """Say whether a single full stop with white space after it ends a sentence."""
    i = _skip_white(data, after, stop)
    if i < stop and _class_at(data, i) == DASH:
        # In news a dash leads on to more of the same speech: after full stops
        # 117 of 142 such places in the ERSATZ sets are no borders.
        beyond = _after(data, i)
        if beyond < stop and _class_at(data, beyond) == SPACE:
            return False
    place, cls = _next_word(data, i, stop)
    if cls == LOWER or cls == COMMA or DOT <= cls <= STOP:
        return False
    start = dot
    letters, digits = 0, 0
    roman, first = True, OTHER
    while start > unit and dot - start <= WORD_BYTES:
        i = _before(data, start)
        cls_before = _class_at(data, i)
        if cls_before == DIGIT:
            digits += 1
        elif cls_before == UPPER or cls_before == LOWER or cls_before == LETTER:
            letters += 1
            byte = data[i]
            roman = roman and (byte == 73 or byte == 86 or byte == 88 or byte == 76)
        elif cls_before != EXTEND and not (data[i] == 0xC2 and data[i + 1] == 0xB0):
            break
        first = cls_before
        start = i
    if start == dot or dot - start > WORD_BYTES:
        return True
    if dot - unit <= LABEL_BYTES and cls != END:
        numbered = (first == DIGIT and letters <= 1) or (digits == 0 and roman)
        if (numbered or (digits == 0 and letters == 1)) and _leads_label(
            data, unit, start, not numbered
        ):
            return False
    before = OTHER
    if start > unit:
        before = _class_at(data, _before(data, start))
    if letters == 0:
        if digits > 2 or not (before <= LINE or before == OPEN):
            return True
        if cls == DIGIT or before == OPEN:
            return False
        word_stop = _word_stop(data, place, stop)
        if _word_flags(data, place, word_stop) & AFTER_ORDINAL:
            return False
        if start == unit or data[start - 1] != 0x20:
            return True
        i = _word_start(data, start - 1, unit)
        known = _word_flags(data, i, start - 1) & BEFORE_ORDINAL
        return known == 0 or _opens(data, place, stop)
    flags = _word_flags(data, start, dot)
    if flags & BEFORE_NAME:
        return False
    if letters == 1 and digits == 0 and before != QUOTE and before != CLOSE:
        if first != UPPER and (before == DASH or (first == LETTER and _after(data, start) < dot)):
            return True
        if first == LOWER and before == SPACE:
            i = _before(data, start)
            if i > unit and _class_at(data, _before(data, i)) == DIGIT:
                return cls != DIGIT
        return cls == UPPER and _opens(data, place, stop)
    if roman and digits == 0 and letters <= 5:
        return cls != UPPER or _opens(data, place, stop)
    if cls == DIGIT:
        return flags & (BEFORE_NUMBER | CLOSES_SOME) == 0
    if flags & CLOSES_SOME:
        return cls == LETTER or cls == DENSE or (cls == UPPER and _opens(data, place, stop))
    return True


@kernel
def _space_is_missing(data: Any, unit: Any, dot: Any, after: Any, stop: Any) -> Any:
    """Say whether a stop with a word right after it ends a sentence."""
    if _class_at(data, after) != UPPER:
        return False
    second = _after(data, after)
    if second >= stop or _class_at(data, second) != LOWER:
        return False
    word_stop = _word_stop(data, after, stop)
    if word_stop >= stop:
        return False
    cls = _class_at(data, word_stop)
    if cls != SPACE and cls != LINE and cls != COMMA:
        return False
    following = _word_flags(data, after, word_stop)
    if following & SUFFIX:
        return False
    start = dot
    letters, digits = 0, 0
    cls = OTHER
    capital = False
    while start > unit and dot - start <= WORD_BYTES:
        i = _before(data, start)
        cls = _class_at(data, i)
        if cls == DIGIT:
            digits += 1
        elif cls == UPPER or cls == LOWER:
            capital = cls == UPPER
            if capital and following & OPENS == 0:
                return False
            letters += 1
        elif cls != EXTEND:
            break
        start = i
    if start > unit and not (cls == SPACE or cls == LINE or OPEN <= cls <= CLOSE or cls == DASH):
        return False
    if digits:
        return letters == 0 and digits == 4
    return letters >= 2 and _word_flags(data, start, dot) & 7 == 0


@kernel
def _read_stop(data: Any, unit: Any, i: Any, stop: Any) -> tuple[Any, Any]:
    """Read the stop at `i` with all that belongs to it.

    Returns
    -------
    after : int
        Where the stops and the closing quotes and brackets end.
    border : bool
        Whether a sentence ends there.
    """
    first = i
    dots, marks, stops, ellipses = 0, 0, 0, 0
    while i < stop:
        cls = _class_at(data, i)
        if cls == DOT:
            dots += 1
        elif cls == MARK:
            marks += 1
        elif cls == STOP:
            stops += 1
        elif cls == ELLIPSIS:
            ellipses += 1
        elif data[i] == 0x20 and i > first and i + 1 < stop:
            cls = _class_at(data, i + 1)
            if not DOT <= cls <= STOP:
                break
            beyond = _after(data, i + 1)
            if cls == DOT and beyond < stop and UPPER <= _class_at(data, beyond) <= DIGIT:
                break
        elif cls != EXTEND or i == first:
            break
        i = _after(data, i)
    if i == first:
        # A colon or semicolon that the caller knows to be a stop.
        marks, i = 1, i + 1
    run_stop = i
    while i < stop:
        cls = _class_at(data, i)
        if cls == QUOTE:
            beyond = _after(data, i)
            if beyond < stop and UPPER <= _class_at(data, beyond) <= DIGIT:
                break
        elif cls != CLOSE and cls != EXTEND:
            break
        i = _after(data, i)
    while i < stop and _class_at(data, i) == SPACE:
        beyond = _after(data, i)
        if beyond >= stop or _class_at(data, beyond) != CLOSE:
            break
        wide = data[beyond] >= 0xE3
        beyond = _after(data, beyond)
        cls = END if beyond >= stop else _class_at(data, beyond)
        if not wide and UPPER <= cls <= DIGIT:
            break
        i = beyond
    if i >= stop or first == unit:
        return i, False
    direct = _class_at(data, i)
    white = direct == SPACE or direct == LINE
    if stops:
        if direct == COMMA:
            return i, False
        before = _class_at(data, _before(data, first))
        if i == run_stop and before == DIGIT and direct == DIGIT:
            return i, False
        if i > run_stop and LOWER <= direct <= DENSE:
            return i, False
        return i, not white or _next_word(data, i, stop)[1] != COMMA
    if marks == 1 and data[first] == 0x21:
        start = _word_start(data, first, unit)
        if _word_flags(data, start, first) & BEFORE_NAME:
            return i, False
    if not white:
        if i > run_stop:
            return i, False
        if marks and LETTER <= direct <= DENSE:
            return i, True
        return i, _space_is_missing(data, unit, first, i, stop)
    if dots == 1 and not marks and not ellipses:
        return i, _dot_ends(data, unit, first, i, stop)
    before = _class_at(data, _before(data, first))
    if not marks and before == OPEN:
        return i, False
    spaced = dots == 3 and run_stop - first == 5 and data[first + 1] == data[first + 3] == 0x20
    if spaced and before == SPACE:
        # Three spaced dots mark an omission; four end a sentence.
        return i, False
    _, cls = _next_word(data, i, stop)
    return i, not (cls == LOWER or cls == COMMA or DOT <= cls <= STOP)


@kernel
def _next_stop(data: Any, unit: Any, i: Any, stop: Any, row: Any) -> Any:
    """Return the next place from `i` on where a rule has to be asked."""
    # Unsigned positions spare the test for negative ones in each step.
    kinds = _KINDS[row]
    end = np.uint64(stop)
    while i < stop:
        place = np.uint64(i)
        while place < end and kinds[data[place]] == SKIP:
            place += np.uint64(1)
        if place >= end:
            return stop
        i = np.int64(place)
        byte = data[i]
        kind = kinds[byte]
        if kind == HALT:
            return i
        if kind == SCRIPT:
            if i - 2 >= unit and data[i - 1] >= 0x80:
                lead = data[i - 2]
                if byte == 0x3A and 0xD4 <= lead <= 0xD6:
                    return i
                if byte == 0x3B and 0xCD <= lead <= 0xCF:
                    return i
            i += 1
            continue
        if kind == GAP:
            if i > unit and data[i - 1] >= 0x80 and i + 1 < stop and 0xE3 <= data[i + 1] <= 0xE9:
                return i
            i += 1
            continue
        if byte < 0xE0:
            block = np.int64(byte & 0x1F)
            low = data[i + 1]
            width = 2
        elif byte < 0xF0:
            block = np.int64(byte & 0x0F) << 6 | data[i + 1] & 0x3F
            low = data[i + 2]
            width = 3
        else:
            block = (
                np.int64(byte & 0x07) << 12 | np.int64(data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F
            )
            low = data[i + 3]
            width = 4
        if _HALTS[block]:
            cls = _CLASSES[np.int64(_BLOCKS[block]) << 6 | low & 0x3F]
            if DOT <= cls <= STOP or (row == 1 and cls == BULLET):
                return i
        i += width
    return stop


@kernel
def _gap_ends(data: Any, unit: Any, gap: Any, stop: Any) -> Any:
    """Say whether the space at `gap` parts two long runs of text without spaces."""
    i = gap
    for _ in range(RUN_BEFORE):
        if i <= unit:
            return False
        i = _before(data, i)
        cls = _class_at(data, i)
        if cls == SPACE or cls == LINE or cls == COMMA:
            return False
        if _after(data, i) == gap and cls != DENSE:
            return False
    i = gap + 1
    for _ in range(RUN_AFTER):
        if i >= stop:
            return False
        cls = _class_at(data, i)
        if cls != DENSE and cls != DIGIT:
            return False
        i = _after(data, i)
    return True


@kernel
def _item_value(data: Any, unit: Any, i: Any) -> tuple[Any, Any]:
    """Read the number or letter of a list item that ends at `i`.

    Returns
    -------
    start : int
        Where it begins; `i` when there is none.
    value : int
        The number; 1000 and the letter for a letter.
    """
    start = i
    value, power = 0, 1
    while start > unit and 0x30 <= data[start - 1] <= 0x39 and i - start < 3:
        start -= 1
        value += power * (data[start] - 0x30)
        power *= 10
    if start == i and start > unit and 0x61 <= data[start - 1] <= 0x7A:
        start -= 1
        value = 1000 + data[start]
    if start > unit:
        cls = _class_at(data, _before(data, start))
        if cls != SPACE and cls != LINE and cls != BULLET:
            return i, 0
    return start, value


@kernel
def _marker_stop(data: Any, i: Any, stop: Any) -> Any:
    """Return where the bullet or number of a list item at `i` ends; `i` if there is none."""
    cls = _class_at(data, i)
    if cls == BULLET:
        return _after(data, i)
    beyond = _after(data, i)
    if data[i] == 0x2D or data[i] == 0x2A or data[i] == 0x2B or cls == DASH:
        if beyond < stop and _class_at(data, beyond) == SPACE:
            return beyond
        return i
    j = i
    if data[j] == 0x28:
        j += 1
    first = j
    while j < stop and j - first < 3 and 0x30 <= data[j] <= 0x39:
        j += 1
    if j == first:
        while (
            j < stop and j - first < 4 and (data[j] == 0x69 or data[j] == 0x76 or data[j] == 0x78)
        ):
            j += 1
        if j == first and j < stop and (0x61 <= data[j] | 0x20 <= 0x7A) and data[j] < 0x80:
            j += 1
    if j == first:
        return i
    closed = j
    while j < stop and j - closed < 2 and (data[j] == 0x2E or data[j] == 0x29):
        j += 1
    if j == closed or (j < stop and _class_at(data, j) != SPACE):
        return i
    return j


@kernel
def _doubled(values: Any) -> Any:
    """Return a copy with room for as many values again."""
    grown = np.empty(2 * len(values), values.dtype)
    grown[: len(values)] = values
    return grown


@kernel
def cut_sentences(
    data: Any, starts: Any, stops: Any, paragraph_offsets: Any
) -> tuple[Any, Any, Any]:
    """Cut paragraphs into sentences."""
    document_count = len(paragraph_offsets) - 1
    capacity = len(starts) * 2 + 16
    unit_starts = np.empty(capacity, np.int64)
    unit_stops = np.empty(capacity, np.int64)
    unit_offsets = np.zeros(document_count + 1, np.int64)
    count = 0
    for document in range(document_count):
        for paragraph in range(paragraph_offsets[document], paragraph_offsets[document + 1]):
            unit = starts[paragraph]
            stop = stops[paragraph]
            i = unit
            if _is_underlined(data, unit, stop):
                i = stop
            row = 0
            expected = -1
            if _marker_stop(data, unit, stop) > unit:
                row = 1
            else:
                for j in range(unit, min(stop, unit + SAMPLE_BYTES)):
                    if 0xE3 <= data[j] <= 0xE9:
                        row = 2
            while True:
                i = _next_stop(data, unit, i, stop, row)
                if i >= stop:
                    break
                cut = -1
                if row == 2 and data[i] == 0x20:
                    i += 1
                    if not _gap_ends(data, unit, i - 1, stop):
                        continue
                    cut = i - 1
                if row == 1:
                    cls = _class_at(data, i)
                    if cls == BULLET:
                        if i > unit:
                            cls = _class_at(data, _before(data, i))
                            if cls == SPACE or cls == LINE:
                                cut = i
                        i = _after(data, i)
                        if cut < 0:
                            continue
                    elif cls == DOT or cls == CLOSE:
                        item, value = _item_value(data, unit, i)
                        if item < i and (
                            value == expected or (expected < 0 and i - unit <= MARKER_BYTES)
                        ):
                            expected = value + 1
                            if item > unit and value > 0:
                                cls = _class_at(data, _before(data, item))
                                if cls != BULLET and i - unit > MARKER_BYTES:
                                    cut = item
                            i += 1
                            if i < stop and data[i] == 0x29:
                                i += 1
                            if cut < 0:
                                continue
                        elif cls == CLOSE:
                            i += 1
                            continue
                if cut < 0:
                    after, border = _read_stop(data, unit, i, stop)
                    i = after
                    if not border:
                        continue
                    cut = after
                if count == len(unit_starts):
                    unit_starts, unit_stops = _doubled(unit_starts), _doubled(unit_stops)
                end = cut
                while end > unit:
                    before = _before(data, end)
                    cls = _class_at(data, before)
                    if cls != SPACE and cls != LINE:
                        break
                    end = before
                unit_starts[count] = unit
                unit_stops[count] = end
                count += 1
                unit = _skip_white(data, cut, stop)
                i = max(i, unit)
            if count == len(unit_starts):
                unit_starts, unit_stops = _doubled(unit_starts), _doubled(unit_stops)
            if unit < stop:
                unit_starts[count] = unit
                unit_stops[count] = stop
                count += 1
        unit_offsets[document + 1] = count
    return unit_starts[:count].copy(), unit_stops[:count].copy(), unit_offsets


@kernel
def _line_stop(data: Any, i: Any, stop: Any) -> Any:
    """Return where the line that holds `i` ends: its line break, or `stop`."""
    # Unsigned positions spare the test for negative ones in each step.
    place, end = np.uint64(i), np.uint64(stop)
    while place < end:
        byte = data[place]
        if byte > 0x0D and byte != 0xC2 and byte != 0xE2:
            place += np.uint64(1)
            continue
        i = np.int64(place)
        if 0x0A <= byte <= 0x0D:
            return i
        if byte == 0xC2 and data[i + 1] == 0x85:
            return i
        if byte == 0xE2 and data[i + 1] == 0x80 and data[i + 2] & 0xFE == 0xA8:
            return i
        place += np.uint64(1)
    return stop


@kernel
def _columns(data: Any, start: Any, stop: Any) -> Any:
    """Count columns: one a character, two from U+3000 to U+FFFF."""
    count: Any = 0
    for byte in data[start:stop]:
        count += np.int64(byte & 0xC0 != 0x80) + np.int64(0xE3 <= byte < 0xF0)
    return count


@kernel
def _line_sign(data: Any, start: Any, stop: Any) -> Any:
    """Return the sign of which alone a line consists, three times or more; 0 if of none.

    `FENCE` for a line of backticks, and for one that opens a block of code by
    backticks or tildes and names its language.
    """
    sign = data[start]
    if not (
        sign == 0x3D
        or sign == 0x2D
        or sign == 0x7E
        or sign == 0x60
        or sign == 0x5E
        or sign == 0x22
        or sign == 0x23
        or sign == 0x2A
        or sign == 0x2B
    ):
        return 0
    i = start
    while i < stop and data[i] == sign:
        i += 1
    if i - start < 3:
        return 0
    if i == stop:
        return np.int64(sign)
    if sign != 0x60 and sign != 0x7E:
        return 0
    while i < stop:
        if data[i] == sign:
            return 0
        i += 1
    return FENCE


@kernel
def _is_under(width: Any, title_width: Any) -> Any:
    """Say whether a line of signs is wide enough to be the underline of a title.

    Of 25,500 lines of = - ~ below a line of text, in manuals, 22,200 are at
    least as wide as it and 200 nearly; 3,100 are less than seven tenths: rules,
    drawings and the "---" of YAML.
    """
    return 4 * width >= 3 * title_width


@kernel
def _is_framed(data: Any, i: Any, stop: Any, sign: Any, width: Any) -> Any:
    """Say whether after the line break at `i` comes a line of `width` times `sign`."""
    if i >= stop or (data[i] == 0xE2 and data[i + 2] == 0xA9):
        return False
    crlf = data[i] == 0x0D and i + 1 < stop and data[i + 1] == 0x0A
    i = i + 2 if crlf else _after(data, i)
    while i < stop and _class_at(data, i) == SPACE:
        i = _after(data, i)
    count = 0
    while i < stop and count <= width and data[i] == sign:
        count += 1
        i += 1
    while i < stop and _class_at(data, i) == SPACE:
        i = _after(data, i)
    return count == width and (i >= stop or _class_at(data, i) == LINE)


@kernel
def _is_underlined(data: Any, start: Any, stop: Any) -> Any:
    """Say whether the last of two or more lines consists of one sign."""
    sign = data[stop - 1]
    if stop - start < 5 or data[stop - 2] != sign or data[stop - 3] != sign:
        return False
    i = stop
    while i > start and data[i - 1] == sign:
        i -= 1
    if _line_sign(data, i, stop) == 0:
        return False
    while i > start:
        i = _before(data, i)
        cls = _class_at(data, i)
        if cls != SPACE:
            return cls == LINE
    return False


@kernel
def find_paragraphs(data: Any, offsets: Any) -> tuple[Any, Any, Any]:
    """Find the paragraphs of documents."""
    document_count = len(offsets) - 1
    capacity = len(data) // 128 + 16
    starts = np.empty(capacity, np.int64)
    stops = np.empty(capacity, np.int64)
    paragraph_offsets = np.zeros(document_count + 1, np.int64)
    count = 0
    for document in range(document_count):
        i = offsets[document]
        stop = offsets[document + 1]
        if i + 2 < stop and data[i] == 0xEF and data[i + 1] == 0xBB and data[i + 2] == 0xBF:
            i += 3
        is_open = False
        before_width, width, indent = 0, 0, 0
        is_item, wrapped, tail, tail_before = False, False, OTHER, OTHER
        # Of the line above: where its last character stands; whether it may be a
        # title; of which sign it is and of how many, FENCE if it is an underline.
        tail_at, is_title, above_sign, above_count = i, False, 0, 0
        while i < stop:
            line_stop = _line_stop(data, i, stop)
            start = i
            next_indent = 0
            while start < line_stop:
                cls = _class_at(data, start)
                if cls != SPACE:
                    break
                next_indent += 8 if data[start] == 9 else 1
                start = _after(data, start)
            if start == line_stop:
                is_open = False
            else:
                end = line_stop
                while True:
                    last = _before(data, end)
                    cls = _class_at(data, last)
                    if cls != SPACE:
                        break
                    end = last
                next_width = next_indent + _columns(data, start, end)
                item_stop = _marker_stop(data, start, end)
                joined = False
                sign = _line_sign(data, start, end)
                if sign:
                    joined = (
                        is_open
                        and is_title
                        and sign != FENCE
                        and _is_under(end - start, width - indent)
                    )
                elif is_open and above_sign:
                    joined = (
                        above_sign != FENCE
                        and data[start] != 0x7C
                        and _is_under(above_count, next_width - next_indent)
                        and _is_framed(data, line_stop, stop, above_sign, above_count)
                    )
                elif is_open and item_stop == start:
                    first = start
                    head = OTHER
                    for _ in range(SKIPPED_CHARS):
                        head = END if first >= end else _class_at(data, first)
                        if not (OPEN <= head <= CLOSE or head == EXTEND):
                            break
                        first = _after(data, first)
                    # A role goes on with a line that is open. After another role
                    # it stands in a list of them, after a colon it begins one.
                    if (
                        data[start] == 0x3A
                        and (
                            UPPER <= tail <= DIGIT
                            or tail == CLOSE
                            or (tail == COMMA and data[tail_at] != 0x3A)
                        )
                        and _is_role(data, start, end)
                    ):
                        head = LOWER
                    word_stop = first
                    if LETTER <= head <= DENSE and data[first] >= 0xE3:
                        word_stop = _after(data, first)
                    else:
                        limit = min(end, first + 64)
                        while word_stop < limit and _class_at(data, word_stop) != SPACE:
                            word_stop = _after(data, word_stop)
                    wider = max(before_width, next_width)
                    full = width + _columns(data, start, word_stop) + SLACK > wider
                    hyphen = tail == DASH and UPPER <= tail_before <= DENSE
                    plain = tail != OTHER and (tail != DASH or hyphen)
                    if width > 2 * WIDEST or next_width > 2 * WIDEST:
                        joined = False
                    elif head == LOWER:
                        joined = width >= NARROWEST_CASELESS or (
                            plain and full and width >= LIST_WIDTH
                        )
                        wrapped = wrapped or joined
                    elif width > WIDEST or not plain or (next_indent > indent + 1 and not is_item):
                        joined = False
                    elif wrapped:
                        joined = full and 4 * width >= 3 * before_width
                    elif UPPER <= head <= DIGIT:
                        joined = width >= (
                            NARROWEST_CASELESS if LETTER <= head <= DENSE else NARROWEST
                        ) and (
                            hyphen
                            or tail == COMMA
                            or (full and 4 * max(next_width, before_width) >= 3 * width)
                        )
                if joined:
                    stops[count - 1] = end
                else:
                    if count == len(starts):
                        starts, stops = _doubled(starts), _doubled(stops)
                    starts[count] = start
                    stops[count] = end
                    count += 1
                    is_item = item_stop > start
                    wrapped = False
                before_width = width if is_open else 0
                width, indent = next_width, next_indent
                if sign:
                    is_title, above_sign, above_count = False, sign, end - start
                    if joined:
                        above_sign = FENCE
                else:
                    # A row of a table is none.
                    is_title = (not joined or above_sign != 0) and data[start] != 0x7C
                    above_sign = 0
                tail, tail_at = _class_at(data, last), last
                tail_before = _class_at(data, _before(data, last)) if last > start else OTHER
                is_open = True
            i = line_stop
            if i < stop:
                if data[i] == 0x0D and i + 1 < stop and data[i + 1] == 0x0A:
                    i += 1
                elif data[i] == 0xE2 and data[i + 2] == 0xA9:
                    is_open = False
                i = _after(data, i)
        paragraph_offsets[document + 1] = count
    return starts[:count].copy(), stops[:count].copy(), paragraph_offsets
