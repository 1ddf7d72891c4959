"""The engine's definitions in plain Python, and the texts they are tried on.

Obviously right before all else: sets, strings and fractions, nothing of the
package. What the design defines by another library comes from that library:
hashes from `xxhash`, signatures from `datasketch`, characters from
`unicodedataplus`.
"""

import json
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction
from functools import cache

import datasketch
import unicodedataplus
import xxhash
from hypothesis import strategies as st

# Default_Ignorable_Code_Point of Unicode 16, DerivedCoreProperties.txt.
IGNORABLE = {
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFF9),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE1000),
}

# Upper case that came after Unicode 14, which is what Python 3.11 folds.
LATE_CASES = {
    0x1C89: 0x1C8A,
    0xA7CB: 0x0264,
    0xA7CC: 0xA7CD,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x019B,
    **dict(zip(range(0x10D50, 0x10D66), range(0x10D70, 0x10D86), strict=True)),
}

HAN = set("Hani Hira Kana Bopo Yiii Nshu Tang Kits Xsux Egyp Hluw".split())
THAI = set("Thai Laoo Khmr Mymr Tale Talu Lana Tavt Java Bali".split())

LINE_BREAK = re.compile("\r\n|[\n\v\f\r\x85\u2028\u2029]")


def scripts(character: str) -> set[str]:
    return set(unicodedataplus.script_extensions(character)) - {"Zyyy", "Zinh"}


def is_dropped_mark(character: str) -> bool:
    if unicodedataplus.category(character) not in ("Mn", "Mc", "Me"):
        return False
    if not scripts(character):
        return bool(unicodedataplus.script(character) == "Inherited")
    return bool(scripts(character) & {"Latn", "Grek", "Cyrl", "Hebr", "Arab"}) and (
        "Deva" not in scripts(character)
    )


@cache
def fold_code_point(character: str) -> str:
    text = character
    for _ in range(4):  # More than any code point needs to stop changing.
        text = unicodedataplus.normalize("NFKD", text).translate(LATE_CASES).casefold()
    text = unicodedataplus.normalize("NFKD", text)
    folded = ""
    for part in text:
        if unicodedataplus.category(part)[0] not in "LMN" and ord(part) not in IGNORABLE:
            folded += " "
        elif ord(part) not in IGNORABLE and not is_dropped_mark(part):
            folded += part
    if ord(character) in IGNORABLE or is_dropped_mark(character):
        return folded
    return folded or " "


def fold_text(text: str) -> str:
    return re.sub(" +", " ", "".join(map(fold_code_point, text))).strip(" ")


@cache
def writing(character: str) -> int:
    """Tell how a character is written: 0 with spaces, 1 like Han, 2 like Thai."""
    of = scripts(character)
    return 1 if of and of <= HAN else 2 if of and of <= THAI else 0


def count_writings(folded: str) -> tuple[int, int]:
    unspaced = sum(writing(character) > 0 for character in folded)
    return len(folded) - unspaced, unspaced


def is_long_enough(folded: str, min_chars: int = 25, min_chars_unspaced: int = 8) -> bool:
    spaced, unspaced = count_writings(folded)
    return Fraction(spaced, min_chars) + Fraction(unspaced, min_chars_unspaced) >= 1


def digit_runs(folded: str) -> list[str]:
    is_digit = [unicodedataplus.category(character) == "Nd" for character in folded]
    marked = "".join(c if digit else " " for c, digit in zip(folded, is_digit, strict=True))
    return marked.split()


def cut_shingles(folded: str, sizes: Sequence[int] = (5, 2, 3)) -> list[str]:
    """Cut a folded text into shingles, run by run of characters written alike."""
    runs: list[tuple[int, str]] = []
    waiting = ""
    for character in folded:
        if character == " ":
            waiting = " "
            continue
        kind = writing(character)
        if runs and runs[-1][0] == kind:
            between = waiting if kind == 0 else ""
            runs[-1] = (kind, runs[-1][1] + between + character)
        else:
            runs.append((kind, character))
        waiting = ""
    return [
        run[start : start + sizes[kind]]
        for kind, run in runs
        for start in range(max(1, len(run) - sizes[kind] + 1))
    ]


def hash_shingles(folded: str, sizes: Sequence[int] = (5, 2, 3)) -> list[int]:
    return [xxhash.xxh32_intdigest(part.encode()) for part in cut_shingles(folded, sizes)]


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


def containment(left: set[str], right: set[str]) -> float:
    return len(left & right) / min(len(left), len(right))


def make_minhash(shingles: Iterable[str], num_perm: int) -> datasketch.MinHash:
    minhash = datasketch.MinHash(
        num_perm, seed=1, scheme="affine32", hashfunc=xxhash.xxh32_intdigest
    )
    minhash.update_batch([part.encode() for part in shingles])
    return minhash


def sign(shingles: Iterable[str], num_perm: int) -> tuple[int, ...]:
    return tuple(int(slot) for slot in make_minhash(shingles, num_perm).hashvalues)


def cut_bands(signature: Sequence[int], bands: int, rows: int) -> list[tuple[int, ...]]:
    return [tuple(signature[band * rows : (band + 1) * rows]) for band in range(bands)]


def candidate_probability(score: Fraction, bands: int, rows: int) -> float:
    return float(1 - (1 - score**rows) ** bands)


def solve_bands(threshold: Fraction, num_perm: int, recall: Fraction) -> tuple[int, int] | None:
    for rows in range(num_perm, 0, -1):
        for bands in range(1, num_perm // rows + 1):
            if 1 - (1 - threshold**rows) ** bands >= recall:
                return bands, rows
    return None


def order_units(folded: Sequence[str], compared: Iterable[int], keep: str) -> list[int]:
    units = sorted(compared)
    if keep == "last":
        return units[::-1]
    if keep == "longest":
        return sorted(units, key=lambda unit: (-len(folded[unit]), unit))
    return units


def apply_law(
    order: Sequence[int],
    threshold: float,
    shares_band: Callable[[int, int], bool],
    score: Callable[[int, int], float],
    gone: Collection[int] = (),
) -> dict[int, tuple[int, float]]:
    """Apply the law of the leader: canonical and score of each duplicate.

    Units that are `gone` for a stretch stay for no other, unless one is like them.
    """
    staying: list[int] = []
    found = {}
    for unit in order:
        best: tuple[int, float] | None = None
        for other in staying:
            if not shares_band(unit, other) or score(unit, other) < threshold:
                continue
            if best is None or score(unit, other) > best[1]:
                best = other, score(unit, other)
        if best is not None:
            found[unit] = best
        elif unit not in gone:
            staying.append(unit)
    return found


def find_duplicates(
    texts: Sequence[str],
    *,
    keep: str = "first",
    threshold: float = 0.7,
    numbers: bool = True,
    bands: int,
    rows: int,
    num_perm: int,
    min_chars: int = 25,
    min_chars_unspaced: int = 8,
    gone: Collection[int] = (),
) -> list[tuple[int, int, str, float, float]]:
    """Return unit, canonical, kind, score and containment of each duplicate."""
    folded = [fold_text(text) for text in texts]
    compared = [
        unit
        for unit, text in enumerate(folded)
        if is_long_enough(text, min_chars, min_chars_unspaced)
    ]
    sets = {unit: set(cut_shingles(folded[unit])) for unit in compared}
    digits = {unit: digit_runs(folded[unit]) for unit in compared}
    cut = {unit: cut_bands(sign(sets[unit], num_perm), bands, rows) for unit in compared}

    def shares_band(left: int, right: int) -> bool:
        if numbers and digits[left] != digits[right]:
            return False
        return any(one == two for one, two in zip(cut[left], cut[right], strict=True))

    def score(left: int, right: int) -> float:
        return jaccard(sets[left], sets[right])

    order = order_units(folded, compared, keep)
    found = apply_law(order, threshold, shares_band, score, gone)
    return [
        (
            unit,
            other,
            "exact"
            if texts[unit] == texts[other]
            else "folded"
            if folded[unit] == folded[other]
            else "near",
            best,
            containment(sets[unit], sets[other]),
        )
        for unit, (other, best) in sorted(found.items())
    ]


def close_gap(before: str, behind: str) -> str:
    """Return the white space that stays where a run of units between two others went."""
    lines_before = list(LINE_BREAK.finditer(before))
    lines_behind = list(LINE_BREAK.finditer(behind))
    if len(lines_before) > len(lines_behind) > 0:
        return before[: lines_before[-1].end()] + behind[lines_behind[-1].end() :]
    if len(lines_before) > len(lines_behind):
        return before
    if lines_behind or len(behind.encode()) >= len(before.encode()):
        return behind
    return before


def clean_text(text: str, spans: Sequence[tuple[int, int]], removed: Sequence[bool]) -> str:
    """Cut units out of one text and close the gaps."""
    if not spans:
        return text
    gaps = [
        text[stop:start]
        for stop, start in zip(
            [0, *(stop for _, stop in spans)],
            [*(start for start, _ in spans), len(text)],
            strict=True,
        )
    ]
    staying = [unit for unit in range(len(spans)) if not removed[unit]]
    if not staying:
        return ""
    # At both ends of the text the outer white space stays.
    cleaned = gaps[0]
    for unit, following in zip(staying, [*staying[1:], len(spans)], strict=True):
        cleaned += text[slice(*spans[unit])]
        if following == unit + 1 or following == len(spans):
            cleaned += gaps[following]
        else:
            cleaned += close_gap(gaps[unit + 1], gaps[following])
    return cleaned


def translate_offset(kept: Sequence[tuple[int, int, int]], offset: int, length: int) -> int | None:
    table: dict[int, int] = {}
    cleaned_length = 0
    for start, stop, cleaned_start in kept:
        cleaned_length = cleaned_start + stop - start
        for position in range(start, stop):
            table[position] = cleaned_start + position - start
    return cleaned_length if offset == length else table.get(offset)


def checksum(text: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(text)


def encode_string(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def encode_share(millionths: int) -> bytes:
    """Write a share: six digits at most behind the point, below 0.00001 an exponent."""
    if 0 < millionths < 10:
        return f"{millionths}e-6".encode()
    whole, rest = divmod(millionths, 1_000_000)
    return f"{whole}.{f'{rest:06}'.rstrip('0') or '0'}".encode()


# Edge cases of folding, shingling and counting: scripts with and without spaces,
# digits of several kinds, ligatures (U+FDFA folds to 18 code points), Hangul
# syllables and jamo, letters past U+FFFF, marks that go and marks that stay,
# what shows nothing, controls, white space of every width in bytes.
RICH_ALPHABET = (
    "abcxyzABZéßΣςЖжאבاي"
    "0123456789٣४３²½①Ⅷ"
    "漢字かなカナｶﾞ々〇한국각갂ᄒ하ᅠㅎไทยกำລາວខ្មែរမြန်"
    "हिन्दी্கொ"
    "ﬁﷺ㍿™℃ǅΐİıŉ"
    "𝐀𝟘𐐀𐌰𠀀𛀀😀"
    "\u0301\u0345\u05b0\u064b\u0488\u20dd\u3099\u1cd0\u0e33"
    "\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0f\U000e0001\u034f"
    "\0\x07\x1f\x7f\x85 \t\n\r\v\f\u00a0\u2003\u2028\u2029\u3000"
    ".,;!?-–—'\"’“”()[]/\\&@#。、？「」"
)


def texts(max_size: int = 60) -> st.SearchStrategy[str]:
    """Any text, and text of edge cases, and text of few letters with many repeats."""
    return st.one_of(
        st.text(max_size=max_size),
        st.text(st.sampled_from(RICH_ALPHABET), max_size=max_size),
        st.text(st.sampled_from("ab 1漢ก"), max_size=max_size),
        st.text(st.sampled_from("ab "), max_size=max_size),
    )


def folded_texts(max_size: int = 60) -> st.SearchStrategy[str]:
    return texts(max_size).map(fold_text)


_SYLLABLES = {
    "Latin": [c + v for c in "bdfgklmnprstv" for v in "aeiou"],
    "Greek": [c + v for c in "βγδκλμνπρστ" for v in "αειου"],
    "Han": [chr(0x4E00 + 37 * number) for number in range(300)],
    "Thai": [c + v for c in "กขคงจชดตทนบปพมยรลวส" for v in "าิีุูเแ"],
}


def make_words(chooser: random.Random, script: str, count: int) -> list[str]:
    syllables = _SYLLABLES[script]
    most = 2 if script == "Han" else 4
    return ["".join(chooser.choices(syllables, k=chooser.randint(1, most))) for _ in range(count)]


def find_json_string(line: str, key: str) -> tuple[int, int]:
    """Return where the string of a row's field begins and ends, the last of several fields."""
    decoder = json.JSONDecoder()
    span = (-1, -1)
    at = line.index("{")
    while line[at] != "}":
        name, at = decoder.raw_decode(line, line.index('"', at))
        at = re.compile(r"\s*:\s*").match(line, at).end()  # type: ignore[union-attr]
        start = at
        _, at = decoder.raw_decode(line, at)
        if name == key:
            span = start, at
        at = re.compile(r"\s*").match(line, at).end()  # type: ignore[union-attr]
    return span


def rewrite_json(
    data: bytes, key: str, changes: Sequence[bool | str], bad_rows: Sequence[int]
) -> bytes:
    """Write JSON Lines of which each document stays, goes or gets a new text."""
    left = iter(changes)
    out = []
    for number, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", data), 1):
        change = True if line.isspace() or number in bad_rows else next(left)
        if isinstance(change, str):
            text = line.decode()
            start, stop = find_json_string(text, key)
            old = text[start:stop]
            keeps_ascii = old.isascii() and "\\u" in old
            new = json.dumps(change, ensure_ascii=keeps_ascii)
            out.append((text[:start] + new + text[stop:]).encode())
        elif change:
            out.append(line)
    assert next(left, None) is None
    return b"".join(out)


def make_sentence(chooser: random.Random, script: str = "Latin", word_count: int = 12) -> str:
    words = make_words(chooser, script, word_count)
    between, stop = (" ", ".") if script in ("Latin", "Greek") else ("", "。")
    return between.join(words).capitalize() + stop


def mutate(chooser: random.Random, sentence: str) -> str:
    """Change a word, a number, case or punctuation: a near copy, or one the same once folded."""
    words = sentence.split(" ")
    at = chooser.randrange(len(words))
    edit = chooser.randrange(8)
    if edit == 0:
        words[at] = make_words(chooser, "Latin", 1)[0]
    elif edit == 1:
        words.insert(at, make_words(chooser, "Latin", 1)[0])
    elif edit == 2 and len(words) > 1:
        del words[at]
    elif edit == 3 and len(words) > 1:
        words[at], words[at - 1] = words[at - 1], words[at]
    elif edit == 4:
        words[at] = words[at].upper()
    elif edit == 5:
        words[at] += ","
    elif edit == 6:
        words.insert(at, str(chooser.randrange(3)))
    else:
        half = len(sentence) // 2
        position = chooser.randrange(half, len(sentence))
        return sentence[:position] + chooser.choice("aeiou漢ก") + sentence[position + 1 :]
    return " ".join(words)


def make_chains(
    chooser: random.Random, count: int, bases: int = 4, word_count: int = 12
) -> list[str]:
    """Make units of which many are near copies of near copies, and copies of those.

    Chains A ~ B ~ C arise, copies of units that go, and copies with a better
    leader in between.
    """
    scripts_of = ["Latin", "Latin", "Greek", "Han", "Thai"]
    units = [make_sentence(chooser, chooser.choice(scripts_of), word_count) for _ in range(bases)]
    while len(units) < count:
        source = chooser.choice(units)
        if chooser.random() < 0.7:
            for _ in range(chooser.randint(1, 3)):
                source = mutate(chooser, source)
        units.append(source)
    chooser.shuffle(units)
    return units


def say(*parts: Sequence[str]) -> str:
    return " ".join(word for part in parts for word in part).capitalize() + "."


def recut(chooser: random.Random, sentences: Sequence[str]) -> list[str]:
    """Copy sentences: merged, split, begun in the middle of one, edited, or as they are."""
    copies = []
    left = list(sentences)
    while left:
        one = left.pop(0)
        following = left[0] if left and (" " in left[0]) == (" " in one) else ""
        edit = chooser.randrange(5)
        if edit == 0 and following:
            copies.append(one[:-1] + ("," if " " in one else "，") + " " + left.pop(0).lower())
        elif edit == 1 and " " in one:
            parts = one.split(" ")
            copies += [say(parts[: len(parts) // 2]), " ".join(parts[len(parts) // 2 :])]
        elif edit == 1:
            copies += [one[: len(one) // 2] + "。", one[len(one) // 2 :]]
        elif edit == 2 and following and " " in one:
            parts, more = one[:-1].split(" "), following.split(" ")
            copies.append(say(parts[len(parts) // 2 :], more[: len(more) // 2]))
        else:
            copies.append(mutate(chooser, one) if edit == 3 else one)
    return copies


def make_documents(seed: int) -> list[str]:
    """Make documents that have sentences of one another, cut elsewhere, and copies of those."""
    chooser = random.Random(seed)
    scripts = ["Latin", "Latin", "Greek", "Han", "Thai"]
    known: list[str] = []
    texts = []
    for _ in range(chooser.randint(2, 5)):
        sentences = [
            make_sentence(chooser, chooser.choice(scripts), chooser.randint(8, 34))
            for _ in range(5)
        ]
        for _ in range(3):
            at = chooser.randrange(len(known) + 1)
            place = chooser.randrange(len(sentences) + 1)
            sentences[place:place] = recut(chooser, known[at : at + 4])
        sentences.insert(chooser.randrange(len(sentences)), "Short one.")
        known += sentences
        texts.append("".join(one + chooser.choice([" ", " ", "\n", "\n\n"]) for one in sentences))
    return texts
