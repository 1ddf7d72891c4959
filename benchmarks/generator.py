"""Text with repeats whose places are known: made from a seed, in ten scripts.

Words are made from the letters of each script, common ones short and drawn as
often as Zipf says; no natural text is in them. Every sentence is drawn anew, so
that two are alike only where one was planted as a copy of the other, and the
truth is complete: a sentence is copied at most once, except in the families that
are there for that (boilerplate, chains, templates).

Nothing is drawn but by ``random.Random(seed).random()``, the one method that
Python promises to keep: the same seed gives the same text under every version.
"""

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, TypeVar

_Thing = TypeVar("_Thing")

# Copies are planted with so many edits; a short sentence takes fewer.
STRENGTHS: dict[str, tuple[int, ...]] = {
    "exact": (0, 0, 0, 0),
    "insert": (1, 2, 3, 5),
    "delete": (1, 2, 3, 5),
    "substitute": (1, 2, 3, 5),
    "swap": (1, 2, 3),
    "ocr": (1, 2, 4, 8),
    "case": (1, 4, 16),
    "punctuation": (1, 2, 4),
    "reorder": (1, 2, 3),
    "split": (1, 1),
    "merge": (1, 1),
}
# Every kind; those that are not above come in families or as documents.
KINDS = (*STRENGTHS, "boilerplate", "chain", "short", "template number", "template name")

_VOCABULARY = 4000
# Shares of the sentences of a document, and of the documents.
_COPIES, _CHAINED, _TEMPLATES, _ORIGINALS, _COUPLES = 0.22, 0.03, 0.03, 0.4, 0.1
_BOILERPLATE_DOCUMENTS, _SHORT_DOCUMENTS, _PARAGRAPHS = 0.6, 0.1, 0.06
# Originals that wait, so that a copy is not always near.
_LEAST_WAITING = 3
# Sentences with a number, which no edit touches: it would be another fact.
_NUMBERS = 0.08
_OPENING = "“("


@dataclass(frozen=True)
class Span:
    """A piece of a document.

    Attributes
    ----------
    document
        Which one.
    start, stop
        Code points, half-open.
    """

    document: int
    start: int
    stop: int


@dataclass(frozen=True)
class Planted:
    """Two spans of which one was made from the other.

    Attributes
    ----------
    copy, original
        The later and the earlier in reading order. A copy may be a whole
        paragraph; split and merged ones are two sentences on one side.
    kind
        One of `KINDS`.
    edits
        How many: words, letters (`ocr`) or signs (`punctuation`); 0 for the same text.
    script
        One of `SCRIPTS`.
    repeats
        False where both look alike but say two things (a template): to remove
        one would be wrong.
    """

    copy: Span
    original: Span
    kind: str
    edits: int
    script: str
    repeats: bool


@dataclass(frozen=True)
class Generated:
    """Documents and the truth about them.

    Attributes
    ----------
    seed
        Of which they were made.
    documents
        Their texts.
    planted
        All relations, in reading order of the copies.
    """

    seed: int
    documents: list[str]
    planted: list[Planted]


@dataclass(frozen=True)
class _Script:
    """How a script is written.

    Attributes
    ----------
    onsets, nuclei, codas
        A syllable is one of each; separated by spaces, "-" is nothing.
    finals
        What may stand at the end of a word.
    space, comma, stops, joint
        Between words, at the end of a clause and of a sentence, between sentences.
    digits
        From 0 to 9.
    words
        Least words of a sentence, and how many more there may be.
    least_chars
        Those of a sentence without its spaces; so all are long enough to be compared.
    is_cased
        Whether sentences and names begin with a capital.
    confusions
        Groups of letters that look alike; "a>b" goes one way.
    """

    onsets: str
    nuclei: str = "-"
    codas: str = "-"
    finals: str = "-"
    space: str = " "
    comma: str = ","
    stops: str = ". . . . ? !"
    joint: str = " "
    digits: str = "0123456789"
    words: tuple[int, int] = (6, 24)
    least_chars: int = 28
    is_cased: bool = False
    confusions: str = ""


def _every(first: int, last: int, step: int) -> str:
    return " ".join(map(chr, range(first, last, step)))


_ALPHABETS = {
    "latin": _Script(
        "b bl br c ch cr d dr f fl g gl gr h j k l m n p pl pr qu r s sh st t th tr v w",
        "a e i o u a e i o ai ea ou é ü",
        "- - - n r s t l d m nd st ng ck",
        is_cased=True,
        confusions="e c o|u n|b h|t f|a s|l>1|o>0|m>rn|w>vv|d>cl|i l",
    ),
    "cyrillic": _Script(
        "б в г д ж з к л м н п р с т ф х ц ч ш щ ст пр тр кл вр",
        "а е и о у ы я ю а о е и",
        "- - - н л т с й м в",
        "- - ть ый",
        is_cased=True,
        confusions="и н п|ш щ|е с о|ь ъ|б в|о>0|з>3",
    ),
    "greek": _Script(
        "β γ δ ζ θ κ λ μ ν ξ π ρ σ τ φ χ ψ στ πρ κρ",
        "α ε η ι ο υ ω ου αι ει ά έ ό",
        "- - ν ρ",
        "- ς ν",
        is_cased=True,
        stops=". . . . ; !",
        confusions="ν υ|ο σ|η π|ι τ|κ χ|ά α",
    ),
    "hebrew": _Script(
        "א ב ג ד ה ז ח ט י כ ל מ נ ס ע פ צ ק ר ש ת",
        "- - ו י א",
        "- ל ר",
        confusions="ד ר|ה ח ת|ו ז|ב כ|ט מ|ג נ",
    ),
    "arabic": _Script(
        "ب ت ث ج ح خ د ذ ر ز س ش ص ض ط ظ ع غ ف ق ك ل م ن ه",
        "- - ا و ي",
        "- ن ر",
        "- ة ات",
        comma="،",
        stops=". . . . ؟ !",
        digits="٠١٢٣٤٥٦٧٨٩",
        confusions="ب ت ث|ج ح خ|د ذ|ر ز|س ش|ص ض|ط ظ|ع غ|ف ق",
    ),
    "devanagari": _Script(
        "क ख ग घ च छ ज झ ट ठ ड ढ त थ द ध न प फ ब भ म य र ल व श ष स ह प्र क्र स्त",
        "- ा ि ी ु ू े ै ो ौ",
        "- - - ं न",
        stops="। । । । ? !",
        digits="०१२३४५६७८९",
        confusions="ब व|घ ध|म भ|प ष|ड ढ|ि ी|ु ू|े ै",
    ),
    "hangul": _Script(
        _every(0xAC00, 0xD7A4, 29),
        least_chars=12,
        confusions="|".join(f"{chr(i)}>{chr(i + 28)}" for i in range(0xAC00, 0xD700, 29)),
    ),
    "han": _Script(
        _every(0x4E01, 0x9E00, 13),
        space="",
        comma="，",
        stops="。 。 。 。 ？ ！",
        joint="",
        words=(8, 20),
        least_chars=10,
        confusions="|".join(f"{chr(i)}>{chr(i + 1)}" for i in range(0x4E01, 0x9E00, 13)),
    ),
    "kana": _Script(
        _every(0x304B, 0x3060, 2)
        + " ち つ て と あ い う え お な に ぬ の は ひ ふ へ ほ ま み む め も や ゆ よ "
        "ら り る れ ろ わ を ん ア イ ウ エ オ カ キ ク コ サ シ ス ソ タ ツ テ ト ナ ノ ハ フ "
        "マ ミ ラ リ ル レ ロ ン",
        space="",
        comma="、",
        stops="。 。 。 。 ？ ！",
        joint="",
        words=(6, 16),
        least_chars=10,
        confusions="シ ツ|ソ ン|は ほ|る ろ|ね れ わ|ま も|ク タ|ウ フ|あ お|い り",
    ),
    "thai": _Script(
        "ก ข ค ง จ ช ด ต ท น บ ป พ ฟ ม ย ร ล ว ส ห อ เก เม แล โท เร",
        "า ิ ี ุ ู ะ ั า",
        "- - น ง ก ม ย",
        space="",
        comma=" ",
        stops="-",
        joint="\n\n",
        words=(6, 16),
        least_chars=10,
        confusions="ก ถ ภ|ค ด|บ ป|ผ ฝ|ท ห|ิ ี|ุ ู",
    ),
}
SCRIPTS = tuple(_ALPHABETS)


class Draw:
    """Choices from a seed that no version of Python makes otherwise."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, count: int) -> int:
        """Draw a number from 0 to under a count."""
        return int(self.random() * count)

    def one(self, items: Sequence[_Thing]) -> _Thing:
        """Draw one of some things."""
        return items[int(self.random() * len(items))]

    def some(self, count: int, most: int) -> list[int]:
        """Draw different numbers below a count, as many as there are up to `most`; rising."""
        numbers = list(range(count))
        for i in range(min(count, most)):
            k = i + int(self.random() * (count - i))
            numbers[i], numbers[k] = numbers[k], numbers[i]
        return sorted(numbers[:most])


class Writer:
    """Words and sentences of one script.

    A sentence is a list of words, some with a comma; `render` makes it text.
    The last word is never short, lest it be taken for an abbreviation.

    Parameters
    ----------
    script
        One of `SCRIPTS`.
    draw
        What it draws from.
    """

    def __init__(self, script: str, draw: Draw) -> None:
        self.name, self.script, self._draw = script, _ALPHABETS[script], draw
        self._words = self._make_words()
        weights = list(accumulate(1 / (rank + 2.7) for rank in range(len(self._words))))
        self._weights = [weight / weights[-1] for weight in weights]
        middle = sorted(map(len, self._words))[_VOCABULARY // 2]
        self._long = [word for word in self._words if len(word) >= middle]
        self._longs = frozenset(self._long)
        self._stops = self.script.stops.replace("-", "").split(" ")
        self.letters = sorted({letter for word in self._words for letter in word})
        self._confused: dict[str, list[str]] = {}
        for group in self.script.confusions.split("|"):
            if ">" in group:
                letter, other = group.split(">")
                self._confused.setdefault(letter, []).append(other)
            else:
                for letter in group.split():
                    others = [other for other in group.split() if other != letter]
                    self._confused.setdefault(letter, []).extend(others)

    @property
    def is_spaced(self) -> bool:
        """Whether words are parted by spaces."""
        return self.script.space != ""

    def word(self) -> str:
        """Draw a word, the common ones more often."""
        return self._words[bisect(self._weights, self._draw.random())]

    def rare_word(self) -> str:
        """Draw a longer word, one as often as the other."""
        return self._draw.one(self._long)

    def number(self) -> str:
        """Draw a number of two to five digits of the script."""
        digits = str(10 + self._draw.below(10 ** (2 + self._draw.below(4)) - 10))
        return "".join(self.script.digits[int(digit)] for digit in digits)

    def sentence(self, has_number: bool = False) -> list[str]:
        """Draw a sentence; one of its words may be a number."""
        draw, words, weights = self._draw.random, self._words, self._weights
        least, more = self.script.words
        count = least + int(more * draw() * draw())
        drawn = [words[bisect(weights, draw())] for _ in range(count - 1)]
        drawn.append(self.rare_word())
        # So that even the shortest is compared.
        while sum(map(len, drawn)) < self.script.least_chars:
            drawn.insert(0, self.rare_word())
        if count > 7 and draw() < 0.5:
            drawn[2 + int(draw() * (count - 5))] += self.script.comma
        if has_number:
            drawn.insert(1 + int(draw() * (count - 2)), self.number())
        return drawn

    def short_sentence(self) -> list[str]:
        """Draw a sentence about as short as what is compared, or shorter."""
        least, more = (2, 4) if self.is_spaced else (3, 5)
        return [self.rare_word() for _ in range(least + self._draw.below(more))]

    def stop(self) -> str:
        """Draw what ends a sentence."""
        return self._draw.one(self._stops)

    def render(self, words: Sequence[str], stop: str) -> str:
        """Return the text of a sentence."""
        text = self.script.space.join(words)
        if self.script.is_cased:
            first = int(text[0] in _OPENING)
            text = text[:first] + text[first].upper() + text[first + 1 :]
        return text + stop

    def edit(self, kind: str, words: list[str], stop: str, edits: int) -> tuple[str, int]:
        """Return an edited copy of a sentence, and how many edits it came to."""
        if kind == "exact":
            return self.render(words, stop), 0
        if kind == "ocr":
            return self._misread(self.render(words, stop), words, edits)
        if kind == "split":
            return self._split(words, stop), 1
        made = list(words)
        done = self._EDITS[kind](self, made, edits)
        return self.render(made, stop), done

    def edit_words(self, words: list[str], edits: int) -> tuple[list[str], int]:
        """Return a copy with words inserted, deleted, substituted or swapped, and how many."""
        made, done = list(words), 0
        for _ in range(edits):
            kind = self._draw.one(("insert", "delete", "substitute", "swap"))
            done += self._EDITS[kind](self, made, 1)
        return made, done

    def _make_words(self) -> list[str]:
        draw, script = self._draw, self.script
        onsets, nuclei, codas, finals = (
            parts.replace("-", "").split(" ")
            for parts in (script.onsets, script.nuclei, script.codas, script.finals)
        )
        words: dict[str, None] = {}
        while len(words) < _VOCABULARY:
            syllables = 1
            if len(words) >= 40:
                syllables += 1 + (len(words) >= 600) * draw.below(2)
            word = draw.one(finals)
            for _ in range(syllables):
                word = draw.one(onsets) + draw.one(nuclei) + draw.one(codas) + word
            words[word] = None
        return list(words)

    def _part(self, word: str) -> tuple[str, str]:
        """Part a word from the comma that may be behind it."""
        comma = self.script.comma
        return (word.removesuffix(comma), comma) if word.endswith(comma) else (word, "")

    def _open_places(self, words: Sequence[str]) -> list[int]:
        """Return which words may be edited: no number, and not the last."""
        return [i for i, word in enumerate(words[:-1]) if not word[0].isdigit()]

    def _insert(self, words: list[str], edits: int) -> int:
        places = self._draw.some(len(words), edits)
        for place in reversed(places):
            words.insert(place, self.word())
        return len(places)

    def _delete(self, words: list[str], edits: int) -> int:
        places = self._open_places(words)
        chosen = self._draw.some(len(places), min(edits, len(words) // 2))
        for i in reversed(chosen):
            del words[places[i]]
        return len(chosen)

    def _substitute(self, words: list[str], edits: int) -> int:
        places = self._open_places(words)
        chosen = self._draw.some(len(places), min(edits, len(words) // 2))
        for i in chosen:
            old, comma = self._part(words[places[i]])
            word = old
            while word == old:
                word = self.word()
            words[places[i]] = word + comma
        return len(chosen)

    def _swap(self, words: list[str], edits: int) -> int:
        bare = [self._part(word)[0] for word in words]
        places = [i for i in range(len(words) - 2) if bare[i] != bare[i + 1]]
        done, beyond = 0, 0
        for i in self._draw.some(len(places), edits):
            place = places[i]
            if place >= beyond:
                words[place], words[place + 1] = words[place + 1], words[place]
                done, beyond = done + 1, place + 2
        return done

    def _reorder(self, words: list[str], edits: int) -> int:
        last = words.pop()
        for _ in range(edits):
            size = 1 + self._draw.below(max(1, min(5, len(words) // 2)))
            place = self._draw.below(len(words) - size + 1)
            block = words[place : place + size]
            del words[place : place + size]
            target = self._draw.below(len(words)) if words else 0
            target += target >= place
            words[target:target] = block
        words.append(last)
        return edits

    def _capitalise(self, words: list[str], edits: int) -> int:
        chosen = self._draw.some(len(words) - 1, edits)
        for i in chosen:
            words[i] = words[i].upper()
        return len(chosen)

    def _punctuate(self, words: list[str], edits: int) -> int:
        chosen = self._draw.some(len(words) - 1, edits)
        for i in chosen:
            if words[i].endswith(self.script.comma):
                words[i] = words[i].removesuffix(self.script.comma)
            else:
                before, behind = self._draw.one((("", self.script.comma), ("“", "”"), ("(", ")")))
                words[i] = before + words[i] + behind
        return len(chosen)

    def _misread(self, text: str, words: Sequence[str], edits: int) -> tuple[str, int]:
        """Return a text as a scanner may read it: letters taken for others, spaces lost or made."""
        letters = list(text)
        beyond = len(text) - len(words[-1]) - 2
        kept = f"{self.script.digits}{self.script.comma}\n"
        places = [i for i in range(1, beyond) if text[i] not in kept]
        chosen = self._draw.some(len(places), edits)
        for i in chosen:
            letter = letters[places[i]]
            fate = self._draw.random()
            if letter == " ":
                letters[places[i]] = ""
            elif letter in self._confused and fate < 0.8:
                letters[places[i]] = self._draw.one(self._confused[letter])
            elif fate < 0.9:
                letters[places[i]] = ""
            else:
                letters[places[i]] += self._draw.one((" ", "'", "-", "·"))
        return "".join(letters), len(chosen)

    def _split(self, words: list[str], stop: str) -> str:
        """Return the sentence as two; the first ends with a longer word."""
        middle = len(words) // 2
        by_distance = sorted(range(1, len(words) - 2), key=lambda i: (abs(i - middle), i))
        place = next((i for i in by_distance if words[i] in self._longs), middle)
        first = [*words[:place], words[place].removesuffix(self.script.comma)]
        return (
            self.render(first, self._stops[0])
            + self.script.joint
            + self.render(words[place + 1 :], stop)
        )

    _EDITS: ClassVar[dict[str, Callable[["Writer", list[str], int], int]]] = {
        "insert": _insert,
        "delete": _delete,
        "substitute": _substitute,
        "swap": _swap,
        "case": _capitalise,
        "punctuation": _punctuate,
        "reorder": _reorder,
    }


@dataclass(frozen=True)
class _Sentence:
    """A sentence that was written: its words, what ends it, and where it stands."""

    words: list[str]
    stop: str
    span: Span


@dataclass
class _Family:
    """A sentence that comes again and again.

    Attributes
    ----------
    kind
        One of `KINDS`.
    words, stop
        Of the last member of a chain, of the first member of others.
    span
        Where that one stands.
    left
        Members that are still to come.
    slot
        The word in which those of a template differ.
    used
        What stood there.
    """

    kind: str
    words: list[str]
    stop: str
    span: Span
    left: int
    slot: int
    used: set[str]


class _Page:
    """A document while it is written."""

    def __init__(self, number: int) -> None:
        self._number, self._parts, self._length = number, list[str](), 0

    def write(self, text: str) -> Span:
        """Append a text and say where it stands."""
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        return Span(self._number, start, self._length)

    def since(self, start: int) -> tuple[str, Span]:
        """Return what stands from a place on."""
        return "".join(self._parts)[start:], Span(self._number, start, self._length)

    def text(self) -> str:
        return "".join(self._parts)

    def __len__(self) -> int:
        return self._length


class _Composer:
    """Composes the documents of one script and notes what it plants in them.

    What may be copied waits until it is, once; families go on over many documents.
    """

    def __init__(self, script: str, draw: Draw, planted: list[Planted]) -> None:
        self._draw, self._planted = draw, planted
        self._writer = Writer(script, draw)
        self._originals: list[_Sentence] = []
        self._couples: list[tuple[_Sentence, _Sentence]] = []
        self._paragraphs: list[tuple[str, Span]] = []
        self._shorts: list[_Sentence] = []
        self._families: dict[str, _Family] = {}
        self._deck: list[tuple[str, int]] = []

    def compose(self, number: int) -> str:
        """Return the next document."""
        draw, page = self._draw, _Page(number)
        if draw.random() < _SHORT_DOCUMENTS:
            self._write_short(page)
        else:
            for i in range(2 + draw.below(5)):
                page.write("\n\n" if i else "")
                self._write_paragraph(page)
            if draw.random() < _BOILERPLATE_DOCUMENTS:
                page.write("\n\n")
                self._write_member(page, "boilerplate")
        page.write("\n")
        return page.text()

    def _plant(
        self, copy: Span, original: Span, kind: str, edits: int, repeats: bool = True
    ) -> None:
        self._planted.append(Planted(copy, original, kind, edits, self._writer.name, repeats))

    def _take(self, waiting: list[_Thing]) -> _Thing:
        """Take one of what waits; another may not be copied from it."""
        i = self._draw.below(len(waiting))
        waiting[i], waiting[-1] = waiting[-1], waiting[i]
        return waiting.pop()

    def _write_fresh(self, page: _Page, words: list[str]) -> _Sentence:
        stop = self._writer.stop()
        return _Sentence(words, stop, page.write(self._writer.render(words, stop)))

    def _write_short(self, page: _Page) -> None:
        draw, writer = self._draw, self._writer
        if len(self._shorts) < _LEAST_WAITING or draw.random() < 0.5:
            self._shorts.append(self._write_fresh(page, writer.short_sentence()))
            return
        original = self._take(self._shorts)
        words, edits = writer.edit_words(original.words, draw.below(2))
        copy = page.write(writer.render(words, original.stop))
        self._plant(copy, original.span, "short", edits)

    def _write_paragraph(self, page: _Page) -> None:
        draw, writer = self._draw, self._writer
        if len(self._paragraphs) >= _LEAST_WAITING and draw.random() < _PARAGRAPHS:
            text, original = self._take(self._paragraphs)
            self._plant(page.write(text), original, "exact", 0)
            return
        start = len(page)
        is_original = draw.random() < 2 * _PARAGRAPHS
        for i in range(1 + draw.below(6)):
            page.write(writer.script.joint if i else "")
            if is_original:
                self._write_fresh(page, writer.sentence())
            else:
                self._write_sentence(page)
        if is_original:
            self._paragraphs.append(page.since(start))

    def _write_sentence(self, page: _Page) -> None:
        draw, writer = self._draw, self._writer
        fate = draw.random()
        if fate < _COPIES and len(self._originals) >= _LEAST_WAITING:
            self._write_copy(page)
        elif _COPIES < fate < _COPIES + _CHAINED:
            self._write_member(page, "chain")
        elif _COPIES < fate < _COPIES + _CHAINED + _TEMPLATES:
            self._write_member(page, draw.one(("template number", "template name")))
        elif draw.random() < _COUPLES:
            first = self._write_fresh(page, writer.sentence())
            page.write(writer.script.joint)
            self._couples.append((first, self._write_fresh(page, writer.sentence())))
        else:
            sentence = self._write_fresh(page, writer.sentence(draw.random() < _NUMBERS))
            if draw.random() < _ORIGINALS:
                self._originals.append(sentence)

    def _write_copy(self, page: _Page) -> None:
        writer = self._writer
        if not self._deck:
            cards = [(kind, edits) for kind, strengths in STRENGTHS.items() for edits in strengths]
            self._deck = [card for card in cards if card[0] != "case" or writer.script.is_cased]
        kind, edits = self._take(self._deck)
        if kind == "merge" and self._couples:
            first, second = self._take(self._couples)
            span = Span(first.span.document, first.span.start, second.span.stop)
            words = [*first.words[:-1], first.words[-1] + writer.script.comma, *second.words]
            self._plant(page.write(writer.render(words, second.stop)), span, kind, 1)
            return
        if kind == "merge":
            kind = "substitute"
        original = self._take(self._originals)
        text, done = writer.edit(kind, original.words, original.stop, edits)
        self._plant(page.write(text), original.span, kind, done)

    def _write_member(self, page: _Page, kind: str) -> None:
        """Write the next member of a family, or the first one of a new family."""
        draw, writer = self._draw, self._writer
        family = self._families.get(kind)
        if family is None or not family.left:
            words = writer.sentence()
            while len(words) < writer.script.words[0] + 3:
                words.insert(0, writer.rare_word())
            least, more = {"boilerplate": (24, 36), "chain": (4, 5)}.get(kind, (5, 8))
            slot = 1 + draw.below(len(words) - 2)
            if kind.startswith("template"):
                words[slot] = self._fill(kind, set())
            first = self._write_fresh(page, words)
            self._families[kind] = _Family(
                kind, words, first.stop, first.span, least + draw.below(more), slot, {words[slot]}
            )
            return
        family.left -= 1
        edits = 0
        if kind == "chain":
            words, edits = writer.edit_words(family.words, 1 + draw.below(2))
        elif kind == "boilerplate":
            words, edits = writer.edit_words(family.words, int(draw.random() < 0.3))
        else:
            words = list(family.words)
            words[family.slot] = self._fill(kind, family.used)
            family.used.add(words[family.slot])
            edits = 1
        span = page.write(writer.render(words, family.stop))
        self._plant(span, family.span, kind, edits, not kind.startswith("template"))
        if kind == "chain":
            family.words, family.span = words, span

    def _fill(self, kind: str, used: set[str]) -> str:
        """Draw a number or a name that no other member has."""
        writer = self._writer
        while True:
            word = writer.number() if kind == "template number" else writer.rare_word()
            if kind == "template name" and writer.script.is_cased:
                word = word.capitalize()
            if word not in used:
                return word


def generate(size_mb: float, seed: int = 1, scripts: Sequence[str] = SCRIPTS) -> Generated:
    """Make documents with planted repeats, and say where all of them are.

    Parameters
    ----------
    size_mb
        Least size of all documents in 10**6 bytes of UTF-8.
    seed
        The same seed, size and scripts give the same documents.
    scripts
        Some of `SCRIPTS`; each document is in one of them.

    Examples
    --------
    >>> made = generate(0.05, scripts=["latin"])
    >>> first = next(one for one in made.planted if one.kind == "exact")
    >>> spans = first.copy, first.original
    >>> one, other = [made.documents[span.document][span.start : span.stop] for span in spans]
    >>> one == other
    True
    """
    draw = Draw(seed)
    planted: list[Planted] = []
    composers = [_Composer(script, draw, planted) for script in scripts]
    documents: list[str] = []
    size = 0
    while size < size_mb * 1e6:
        documents.append(draw.one(composers).compose(len(documents)))
        size += len(documents[-1].encode())
    return Generated(seed, documents, planted)
