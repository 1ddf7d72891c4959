"""The sentence splitter again, in plain Python on text: the definition its kernels are held to.

Written to be read, not to be fast. Classes of characters come from Unicode's
own properties; the words and their flags are read from the stored table.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import unicodedataplus as unicode

_TABLE = Path(__file__).parents[1] / "dedup" / "tables" / "sentences.npz"

LINE_BREAK = re.compile("\r\n|[\n\v\f\r\x85\u2028\u2029]")
ROLE = re.compile(":[A-Za-z0-9_.+:-]{1,30}:`")
SPACES = "\t \xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
WHITE = SPACES + "\n\v\f\r\x85\u2028\u2029"
STOPS = {"dot", "mark", "ellipsis", "stop"}
LETTERS = {"upper", "lower", "letter"}
WORDS = {"upper", "lower", "letter", "dense", "digit"}
QUOTES = {"open", "quote", "close"}
LONGEST_WORD, LONGEST_MARKER, LONGEST_LABEL = 24, 12, 24
NAME, NUMBER, SOME, OPENS, ORDINAL, SUFFIX, DETERMINER = 1, 2, 4, 8, 16, 32, 64


@cache
def kind_of(character: str) -> str:
    if character in SPACES:
        return "space"
    if character in WHITE:
        return "line"
    if character in "!?‼‽⁇⁈⁉⸮﹖﹗⸘\u037e":
        return "mark"
    if character in "…‥⋯":
        return "ellipsis"
    if character in "•‣⁃◦▪▫■□●○◆◇►▸✓✔➢➤":
        return "bullet"
    if character in "\"'`´＂＇¨":
        return "quote"
    if character in "¿¡":
        return "open"
    if character == "．":
        return "stop"
    category = unicode.category(character)
    if category == "Pd":
        return "dash"
    named = {
        "ATerm": "dot",
        "STerm": "stop",
        "Extend": "extend",
        "Format": "extend",
        "SContinue": "comma",
        "Numeric": "digit",
        "Upper": "upper",
        "Lower": "lower",
    }
    breaks = unicode.sentence_break(character)
    if breaks in named:
        return named[breaks]
    if breaks == "OLetter":
        dense = {"Han", "Hiragana", "Katakana", "Bopomofo", "Hangul", "Yi"}
        return "dense" if unicode.script(character) in dense else "letter"
    return {"Ps": "open", "Pi": "quote", "Pf": "close", "Pe": "close"}.get(category, "other")


@cache
def known_words() -> dict[str, int]:
    with np.load(_TABLE) as stored:
        return dict(zip(str(stored["words"]).split("\n"), stored["flags"].tolist(), strict=True))


def size(text: str) -> int:
    return len(text.encode())


def flags_of(word: str) -> int:
    return known_words().get(word, 0) if 0 < size(word) <= LONGEST_WORD else 0


class Paragraph:
    """Text of one paragraph, asked by position; past the end the kind is "end"."""

    def __init__(self, text: str) -> None:
        self.text = text

    def kind(self, i: int) -> str:
        return kind_of(self.text[i]) if i < len(self.text) else "end"

    def skip_white(self, i: int) -> int:
        while self.kind(i) in ("space", "line"):
            i += 1
        return i

    def word_from(self, i: int) -> str:
        start = i
        while size(self.text[start:i]) <= LONGEST_WORD and self.kind(i) in LETTERS | {"extend"}:
            i += 1
        return self.text[start:i]

    def word_until(self, stop: int, unit: int) -> str:
        i = stop
        while i > unit and size(self.text[i:stop]) <= LONGEST_WORD:
            if self.kind(i - 1) not in LETTERS | {"extend"}:
                break
            i -= 1
        return self.text[i:stop]

    def opens(self, i: int) -> bool:
        word = self.word_from(i)
        initial = len(word) == 1 and self.text[i + 1 : i + 2] == "."
        return not initial and bool(flags_of(word) & OPENS)

    def next_word(self, i: int) -> int:
        """Where the word after a stop begins: quotes, dashes, marks are passed over."""
        i = self.skip_white(i)
        for _ in range(8):
            if self.kind(i) not in QUOTES | {"dash", "extend", "space", "line"}:
                return i
            i += 1
        return i

    def leads_label(self, unit: int, start: int, most: int) -> bool:
        """Whether only signs and so many words stand before the number at `start`."""
        lead = self.text[unit:start]
        words: list[str] = []
        inside = False
        for c in lead:
            kind = kind_of(c)
            if kind in ("dense", "comma"):
                return False
            if kind in LETTERS and not inside:
                words.append("")
            inside = kind in LETTERS or (inside and kind == "extend")
            if inside:
                words[-1] += c
        if not words:
            return True
        kinds = [kind_of(c) for c in lead]
        first_digit = kinds.index("digit") if "digit" in kinds else len(kinds)
        if len(words) > most or {"space", "line"} & set(kinds[first_digit:]):
            return False
        flags = flags_of(words[0])
        return bool(flags & NUMBER) or (kind_of(words[0][0]) == "upper" and not flags & OPENS)

    def next_kind(self, i: int) -> str:
        """Kind of the word after a stop; the colon of a role is no comma."""
        place = self.next_word(i)
        return "other" if ROLE.match(self.text, place) else self.kind(place)

    def dot_ends(self, unit: int, dot: int, after: int) -> bool:
        i = self.skip_white(after)
        if self.kind(i) == "dash" and self.kind(i + 1) == "space":
            return False
        place = self.next_word(i)
        following = self.next_kind(i)
        if following in STOPS | {"lower", "comma"}:
            return False
        start = dot
        while start > unit and size(self.text[start:dot]) <= LONGEST_WORD:
            if self.kind(start - 1) not in LETTERS | {"digit", "extend"} and (
                self.text[start - 1] != "°"
            ):
                break
            start -= 1
        word = self.text[start:dot]
        if not word or size(word) > LONGEST_WORD:
            return True
        letters = [c for c in word if kind_of(c) in LETTERS]
        digits = [c for c in word if kind_of(c) == "digit"]
        roman = all(c in "IVXL" for c in letters)
        if size(self.text[unit:dot]) <= LONGEST_LABEL and following != "end":
            numbered = self.kind(start) == "digit" and len(letters) <= 1
            if (numbered or (not digits and roman)) and self.leads_label(unit, start, 1):
                return False
            if not digits and len(letters) == 1 and self.leads_label(unit, start, 0):
                return False
        before = self.kind(start - 1) if start > unit else "other"
        if not letters:
            if len(digits) > 2 or before not in ("other", "extend", "space", "line", "open"):
                return True
            if following == "digit" or before == "open":
                return False
            if flags_of(self.word_from(place)) & ORDINAL:
                return False
            if start == unit or self.text[start - 1] != " ":
                return True
            determiner = flags_of(self.word_until(start - 1, unit)) & DETERMINER
            return not determiner or self.opens(place)
        if flags_of(word) & NAME:
            return False
        first = self.kind(start)
        if len(letters) == 1 and not digits and before not in ("quote", "close"):
            if first != "upper" and (before == "dash" or (first == "letter" and len(word) > 1)):
                return True
            counted = start - 1 > unit and self.kind(start - 2) == "digit"
            if first == "lower" and before == "space" and counted:
                return following != "digit"
            return following == "upper" and self.opens(place)
        if roman and not digits and len(letters) <= 5:
            return following != "upper" or self.opens(place)
        if following == "digit":
            return not flags_of(word) & (NUMBER | SOME)
        if flags_of(word) & SOME:
            return following in ("letter", "dense") or (following == "upper" and self.opens(place))
        return True

    def space_is_missing(self, unit: int, dot: int, after: int) -> bool:
        if self.kind(after) != "upper" or self.kind(after + 1) != "lower":
            return False
        word = self.word_from(after)
        if self.kind(after + len(word)) not in ("space", "line", "comma"):
            return False
        following = flags_of(word)
        if following & SUFFIX:
            return False
        start = dot
        while start > unit and size(self.text[start:dot]) <= LONGEST_WORD:
            if self.kind(start - 1) not in ("digit", "upper", "lower", "extend"):
                break
            start -= 1
        word = self.text[start:dot]
        kinds = [kind_of(c) for c in word]
        if "upper" in kinds and not following & OPENS:
            return False
        if start > unit:
            # A word too long to look at ends on one of its own letters.
            long = size(word) > LONGEST_WORD
            before = kinds[0] if long else self.kind(start - 1)
            if before not in QUOTES | {"space", "line", "dash"}:
                return False
        letters = kinds.count("upper") + kinds.count("lower")
        if "digit" in kinds:
            return not letters and kinds.count("digit") == 4
        return letters >= 2 and not flags_of(word) & (NAME | NUMBER | SOME)

    def read_stop(self, unit: int, first: int) -> tuple[int, bool]:
        i = first
        while True:
            kind = self.kind(i)
            if self.text[i : i + 1] == " " and i > first:
                if self.kind(i + 1) not in STOPS:
                    break
                if self.kind(i + 1) == "dot" and self.kind(i + 2) in WORDS:
                    break
            elif kind not in STOPS and (kind != "extend" or i == first):
                break
            i += 1
        kinds = [kind_of(c) for c in self.text[first:i]] or ["mark"]
        i = run_stop = max(i, first + 1)
        while self.kind(i) in ("close", "extend") or (
            self.kind(i) == "quote" and self.kind(i + 1) not in WORDS
        ):
            i += 1
        while self.kind(i) == "space" and self.kind(i + 1) == "close":
            if self.text[i + 1] < "\u3000" and self.kind(i + 2) in WORDS:
                break
            i += 2
        direct = self.kind(i)
        if direct == "end" or first == unit:
            return i, False
        white = direct in ("space", "line")
        closed = i > run_stop
        before = self.kind(first - 1)
        if "stop" in kinds:
            if direct == "comma" or (not closed and before == direct == "digit"):
                return i, False
            if closed and direct in ("lower", "letter", "dense"):
                return i, False
            return i, not white or self.next_kind(i) != "comma"
        marks = kinds.count("mark")
        named = flags_of(self.word_until(first, unit)) & NAME
        if marks == 1 and self.text[first] == "!" and named:
            return i, False
        if not white:
            if closed:
                return i, False
            if marks and direct in ("letter", "dense"):
                return i, True
            return i, self.space_is_missing(unit, first, i)
        if kinds.count("dot") == 1 and not marks and "ellipsis" not in kinds:
            return i, self.dot_ends(unit, first, i)
        if not marks and before == "open":
            return i, False
        if self.text[first:run_stop] == ". . ." and before == "space":
            return i, False
        return i, self.next_kind(i) not in STOPS | {"lower", "comma"}

    def asks(self, unit: int, i: int, mode: str) -> bool:
        """Whether a rule has to be asked at a character."""
        character = self.text[i]
        before = self.text[i - 1] if i > unit else ""
        if character == ":":
            return "\u0500" <= before <= "\u05bf"
        if character == ";":
            return "\u0340" <= before <= "\u03ff"
        if character == " " and mode == "dense":
            return before >= "\x80" and "\u3000" <= self.text[i + 1 : i + 2] <= "\u9fff"
        if character == ")" or self.kind(i) == "bullet":
            return mode == "list"
        return self.kind(i) in STOPS

    def gap_ends(self, unit: int, gap: int) -> bool:
        before, after = self.text[max(unit, gap - 6) : gap], self.text[gap + 1 : gap + 7]
        return (
            len(before) == len(after) == 6
            and kind_of(before[-1]) == "dense"
            and not {"space", "line", "comma"} & {kind_of(c) for c in before}
            and {kind_of(c) for c in after} <= {"dense", "digit"}
        )

    def item_before(self, unit: int, i: int) -> tuple[int, int] | None:
        """Where the number or letter of a list item begins, and its value."""
        found = re.search(r"([0-9]{1,3}|[a-z])\Z", self.text[unit:i])
        if not found:
            return None
        start = unit + found.start()
        if start > unit and self.kind(start - 1) not in ("space", "line", "bullet"):
            return None
        label = found.group()
        return start, int(label) if label.isdigit() else 1000 + ord(label)

    def sentences(self) -> list[tuple[int, int]]:
        text = self.text
        lines = LINE_BREAK.split(text)
        if len(lines) > 1 and line_sign(lines[-1].strip(SPACES)):
            return [(0, len(text))]
        dense = [i for i, c in enumerate(text[:64]) if "\u3000" <= c <= "\u9fff"]
        mode = "plain"
        if marker_size(text):
            mode = "list"
        elif any(size(text[:i]) < 64 for i in dense):
            mode = "dense"
        units: list[tuple[int, int]] = []
        unit = i = 0
        expected: int | None = None

        def cut(place: int) -> int:
            units.append((unit, unit + len(text[unit:place].rstrip(WHITE))))
            return self.skip_white(place)

        while i < len(text):
            if not self.asks(unit, i, mode):
                i += 1
                continue
            kind = self.kind(i)
            if mode == "dense" and text[i] == " ":
                if self.gap_ends(unit, i):
                    unit = cut(i)
                i += 1
                continue
            if mode == "list" and kind == "bullet":
                if i > unit and self.kind(i - 1) in ("space", "line"):
                    unit = cut(i)
                i += 1
                continue
            if mode == "list" and kind in ("dot", "close"):
                item = self.item_before(unit, i)
                near = size(text[unit:i]) <= LONGEST_MARKER
                if item and (item[1] == expected or (expected is None and near)):
                    start, value = item
                    expected = value + 1
                    apart = start > unit and self.kind(start - 1) != "bullet"
                    if apart and value > 0 and not near:
                        unit = cut(start)
                    i += 2 if text[i + 1 : i + 2] == ")" else 1
                    continue
                if kind == "close":
                    i += 1
                    continue
            i, border = self.read_stop(unit, i)
            if border:
                unit = cut(i)
                i = max(i, unit)
        if unit < len(text):
            units.append((unit, len(text)))
        return units


def marker_size(text: str) -> int:
    """Characters of the bullet or number a list item begins with; 0 where there is none."""
    first = kind_of(text[0])
    if first == "bullet":
        return 1
    if first == "dash" or text[0] in "*+":
        return int(kind_of(text[1:2] or "x") == "space")
    found = re.match(r"\(?(?:[0-9]{1,3}|[ivx]{1,4}|[A-Za-z])[.)]{1,2}", text)
    if not found:
        return 0
    rest = text[found.end() :]
    return found.end() if not rest or kind_of(rest[0]) == "space" else 0


def line_sign(content: str) -> str:
    """The sign of which a line consists, three or more; "`" for every fence; "" if none."""
    if re.fullmatch(r'([=\-~^"#*+])\1\1+', content):
        return content[0]
    return "`" if re.fullmatch(r"```+[^`]*|~~~+[^~]*", content) else ""


def columns(text: str) -> int:
    return sum(2 if "\u3000" <= c <= "\uffff" else 1 for c in text)


def first_word(line: str, start: int) -> str:
    """The line up to the end of its first word, which begins at `start`."""
    if (
        start < len(line)
        and kind_of(line[start]) in ("letter", "dense")
        and line[start] >= "\u3000"
    ):
        return line[: start + 1]
    stop = start
    while stop < len(line) and size(line[start:stop]) < 64 and kind_of(line[stop]) != "space":
        stop += 1
    return line[:stop]


class Line:
    def __init__(self, text: str) -> None:
        self.content = text.strip(SPACES)
        self.start = len(text) - len(text.lstrip(SPACES))
        self.indent = sum(8 if c == "\t" else 1 for c in text[: self.start])
        self.sign = line_sign(self.content)
        self.width = self.indent + columns(self.content)
        self.is_title = self.is_underline = False

    def is_under(self, title: "Line") -> bool:
        return 4 * len(self.content) >= 3 * columns(title.content)

    def underlines(self, above: "Line") -> bool:
        return above.is_title and self.sign not in ("", "`") and self.is_under(above)

    def is_framed(self, above: "Line", below: "Line") -> bool:
        """Whether this line is a title between a line above and the same line below."""
        if above.is_underline or above.sign in ("", "`") or self.sign or self.is_row():
            return False
        return below.content == above.content and above.is_under(self)

    def is_row(self) -> bool:
        """Whether this line is a row of a table."""
        return self.content.startswith("|")

    def head(self, above: "Line") -> tuple[int, str]:
        """Where the first word of this line begins, and its kind; "lower" for a role."""
        at = 0
        while at < len(self.content) and at < 7:
            if kind_of(self.content[at]) not in QUOTES | {"extend"}:
                break
            at += 1
        last = above.content[-1]
        is_open = kind_of(last) in WORDS | {"close", "comma"} and last != ":"
        if is_open and ROLE.match(self.content):
            return at, "lower"
        return at, kind_of(self.content[at]) if at < len(self.content) else "end"

    def continues(self, above: "Line", higher: int, is_item: bool, wrapped: bool) -> bool:
        """Whether this line goes on with the paragraph of the line above."""
        if self.sign or above.sign or marker_size(self.content):
            return False
        head_at, head = self.head(above)
        passed = head_at
        if head in QUOTES | {"extend"}:
            passed += 1
        word = first_word(self.content, passed)
        width = above.width
        full = width + columns(word) + 8 > max(higher, self.width)
        tail = kind_of(above.content[-1])
        hyphen = tail == "dash" and len(above.content) > 1
        hyphen = hyphen and kind_of(above.content[-2]) in LETTERS | {"dense"}
        plain = tail != "other" and (tail != "dash" or hyphen)
        if width > 260 or self.width > 260:
            return False
        if head == "lower":
            return width >= 30 or (plain and full and width >= 16)
        if width > 130 or not plain or (self.indent > above.indent + 1 and not is_item):
            return False
        if wrapped:
            return full and 4 * width >= 3 * higher
        if head not in WORDS:
            return False
        if width < (30 if head in ("letter", "dense") else 45):
            return False
        return hyphen or tail == "comma" or (full and 4 * max(self.width, higher) >= 3 * width)


def paragraphs(text: str) -> list[tuple[int, int]]:
    """Spans of the paragraphs of one document, in code points."""
    found: list[tuple[int, int]] = []
    i = 1 if text.startswith("\ufeff") else 0
    above: Line | None = None
    higher = 0
    is_item = wrapped = False
    while i < len(text):
        break_ = LINE_BREAK.search(text, i)
        stop = break_.start() if break_ else len(text)
        line = Line(text[i:stop])
        if not line.content:
            above = None
        else:
            start = i + line.start
            end = start + len(line.content)
            if above and line.continues(above, higher, is_item, wrapped):
                found[-1] = (found[-1][0], end)
                wrapped = wrapped or line.head(above)[1] == "lower"
            elif above and line.underlines(above):
                found[-1] = (found[-1][0], end)
                line.is_underline = True
            elif (
                above
                and break_
                and break_.group() != "\u2029"
                and line.is_framed(above, Line(LINE_BREAK.split(text[break_.end() :], 1)[0]))
            ):
                found[-1] = (found[-1][0], end)
                line.is_title = True
            else:
                line.is_title = not line.sign and not line.is_row()
                found.append((start, end))
                is_item, wrapped = marker_size(line.content) > 0, False
            higher = above.width if above else 0
            above = line
        if break_ and break_.group() == "\u2029":
            above = None
        i = break_.end() if break_ else len(text)
    return found


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of one document, in code points."""
    return [
        (start + first, start + last)
        for start, stop in paragraphs(text)
        for first, last in Paragraph(text[start:stop]).sentences()
    ]
