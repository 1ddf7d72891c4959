"""Generate `folding.npz`: what each code point becomes when text is folded.

Run ``python -m dedup.tables.folding`` after a change and commit the file; a
test generates the table again and compares. Needs `unicodedataplus` (extra
``dev``), which carries one Unicode version whatever the Python. Only the
stored table is read at run time, so folding is the same under every Python.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLE_PATH = Path(__file__).with_name("folding.npz")

# What an entry of the table says of its code point, bits 0 and 1.
SPACE, DROP, KEEP, REPLACE = 0, 1, 2, 3
# Bits 2 and 3: how the script is written. SPACED has spaces between words;
# HAN and THAI are two kinds that have none, and want shingles of their own.
WRITING_SHIFT, WRITING_MASK = 2, 3
SPACED, HAN, THAI = 0, 1, 2
# Bit 4: a decimal digit.
DIGIT_BIT = 16
# REPLACE entries: bytes of the replacement in bits 5 to 10, where it starts in
# the pool from bit 11 on.
LENGTH_SHIFT, LENGTH_MASK, POOL_SHIFT = 5, 63, 11

# Scripts, by ISO 15924 codes as in Unicode's Script_Extensions.
_MARKS_DROPPED = frozenset(["Latn", "Grek", "Cyrl", "Hebr", "Arab"])
# Vedic accents are shared with Latin transliteration; they stay.
_MARKS_KEPT = frozenset(["Deva"])

# Scripts that put no space between words. Hangul puts spaces; Tibetan parts its
# syllables by a sign of its own, which folds to a space.
_UNSPACED_SCRIPTS = {
    # Han, Kana, Bopomofo, Yi, Nushu, Tangut, Khitan, cuneiform, hieroglyphs:
    # a code point is a word or a syllable.
    HAN: frozenset("Hani Hira Kana Bopo Yiii Nshu Tang Kits Xsux Egyp Hluw".split(" ")),
    # Thai, Lao, Khmer, Myanmar, the Tai scripts, Javanese, Balinese: letters.
    THAI: frozenset("Thai Laoo Khmr Mymr Tale Talu Lana Tavt Java Bali".split(" ")),
}

# Case pairs that came after Unicode 14, the version of Python 3.11's
# `str.casefold`; later Pythons give the same.
_LATER_CASE_PAIRS = {
    0x1C89: 0x1C8A,
    0xA7CB: 0x0264,
    0xA7CC: 0xA7CD,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x019B,
    **{upper: upper + 0x20 for upper in range(0x10D50, 0x10D66)},
}

# Code points that show nothing (Default_Ignorable_Code_Point of Unicode,
# DerivedCoreProperties): soft hyphen, joiners, direction marks, variation
# selectors, the byte order mark. They go, as in Unicode's NFKC_Casefold, so
# that a soft hyphen does not cut a word in two.
_IGNORABLE_RANGES = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_IGNORABLE = frozenset(
    point for first, last in _IGNORABLE_RANGES for point in range(first, last + 1)
)


def _unicode() -> Any:
    # Imported here and not above: whoever folds text reads the constants of
    # this module and has no `unicodedataplus`.
    import unicodedataplus

    return unicodedataplus


def _case_folded(text: str) -> str:
    return text.translate(_LATER_CASE_PAIRS).casefold()


def _scripts(character: str) -> set[str]:
    """Return the scripts that use a character, without Common and Inherited."""
    return set(_unicode().script_extensions(character)) - {"Zyyy", "Zinh"}


def _is_dropped_mark(character: str) -> bool:
    if not _unicode().category(character).startswith("M"):
        return False
    scripts = _scripts(character)
    if scripts:
        return bool(scripts & _MARKS_DROPPED) and not scripts & _MARKS_KEPT
    return bool(_unicode().script(character) == "Inherited")


def _is_kept(character: str) -> bool:
    return _unicode().category(character)[0] in "LMN"


def fold_character(character: str) -> str:
    """Fold one character by definition: the text it becomes, ``" "`` or nothing.

    Compatibility decomposition and case folding are repeated until nothing
    changes; then ignorable code points and the marks of Latin, Greek,
    Cyrillic, Hebrew and Arabic go; letters, digits and other marks stay;
    anything else is a space.
    """
    text, before = character, ""
    while text != before:
        before = text
        text = _unicode().normalize("NFKD", _case_folded(_unicode().normalize("NFKD", text)))
    folded = []
    for part in text:
        if ord(part) in _IGNORABLE or _is_dropped_mark(part):
            continue
        folded.append(part if _is_kept(part) else " ")
    if not folded and ord(character) not in _IGNORABLE and not _is_dropped_mark(character):
        return " "
    return "".join(folded)


def _class_bits(character: str) -> int:
    bits = 0
    scripts = _scripts(character)
    for writing, unspaced in _UNSPACED_SCRIPTS.items():
        if scripts and scripts <= unspaced:
            bits |= writing << WRITING_SHIFT
    if _unicode().category(character) == "Nd":
        bits |= DIGIT_BIT
    return bits


def generate_table() -> dict[str, NDArray[np.generic]]:
    """Generate the table as arrays.

    Returns
    -------
    dict
        ``pages`` uint16[4352], page of each run of 256 code points;
        ``entries`` uint32[256 * page_count], see the constants above;
        ``pool`` uint8[...], UTF-8 of all replacements; ``unicode_version``.
    """
    pool = bytearray()
    pool_starts: dict[bytes, int] = {}
    pages = np.zeros(0x110000 >> 8, np.uint16)
    page_numbers: dict[bytes, int] = {}
    for page in range(len(pages)):
        entries = np.zeros(256, np.uint32)
        for low in range(256):
            point = page << 8 | low
            if 0xD800 <= point <= 0xDFFF:
                continue
            character = chr(point)
            folded = fold_character(character)
            if folded == character != " ":
                entries[low] = KEEP | _class_bits(character)
            elif not folded:
                entries[low] = DROP
            elif folded.strip(" "):
                encoded = folded.encode()
                start = pool_starts.setdefault(encoded, len(pool))
                if start == len(pool):
                    pool += encoded
                entries[low] = REPLACE | len(encoded) << LENGTH_SHIFT | start << POOL_SHIFT
        pages[page] = page_numbers.setdefault(entries.tobytes(), len(page_numbers))
    return {
        "pages": pages,
        "entries": np.frombuffer(b"".join(page_numbers), np.uint32),
        "pool": np.frombuffer(bytes(pool), np.uint8),
        "unicode_version": np.array(_unicode().unidata_version),
    }


if __name__ == "__main__":
    np.savez_compressed(TABLE_PATH, allow_pickle=False, **generate_table())
