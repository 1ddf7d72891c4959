"""Loaders of outside sets: labelled text that cannot come with the project.

A set is loaded when its folder is there and named, with how to obtain it, when
it is not: `missing_sets`. Row sets are laid out alike: a folder for each set,
JSON Lines in UTF-8, plain, gzipped or zstd; offsets are half-open code points.
PAN 2013, CORE 2020 and NEWS-COPY are read as their makers publish them, too.
Nothing is fetched.
"""

import gzip
import xml.parsers.expat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.scores import Passage, join_pairs
from dedup.errors import InputError

# Folders of the published PAN corpora, and what the row set calls them.
_PAN_CATEGORIES = {
    "01-no-plagiarism": "none",
    "02-no-obfuscation": "verbatim",
    "03-random-obfuscation": "random",
    "04-translation-obfuscation": "translation",
    "05-summary-obfuscation": "summary",
}
_ENDINGS = ("", ".gz", ".zst")


@dataclass(frozen=True)
class OutsideSet:
    """A set that stands outside.

    Attributes
    ----------
    name
        Its folder, too.
    what
        What it holds and what its labels say.
    licence
        As its makers state it.
    source
        How to obtain it.
    files
        What has to be there, as patterns from the data folder on: one of them.
    """

    name: str
    what: str
    licence: str
    source: str
    files: tuple[str, ...]


OUTSIDE_SETS = (
    OutsideSet(
        "pan13",
        "PAN 2013 text alignment: 5,185 pairs of documents, 4,007 passages with offsets",
        "none stated; research use",
        "https://doi.org/10.5281/zenodo.3715980, pan13-text-alignment-test-and-training.zip "
        "(30 MB; tasks at https://pan.webis.de): unpack it and the archives in it here, as "
        "pan13-text-alignment-training-corpus-2013-01-21 and the like",
        ("pan13/docs.jsonl*", "pan13*/susp", "pan13/*/susp"),
    ),
    OutsideSet(
        "core_2020",
        "CORE near-duplicates 2020: 100,000 scholarly titles and abstracts, labelled pairs",
        "ODC-By",
        "https://core.ac.uk/documentation/dataset, Deduplication Dataset 2020 "
        "(core_2020-05-10_deduplication.zip, 62 MB): unpack it here, as core_2020 or "
        "deduplication_dataset_2020",
        ("core_2020/*.jsonl*", "deduplication_dataset_2020/*.jsonl*"),
    ),
    OutsideSet(
        "news_copy",
        "NEWS-COPY: historical newspaper articles, OCR, pairs of reprints of four days",
        "none stated",
        "https://github.com/dell-research-harvard/NEWS-COPY, under Data, the evaluation and "
        "test sets: for each, its articles (JSON) and its pairs (JSON) in a folder of "
        "news_copy here",
        ("news_copy/*.json*", "news_copy/*/*.json*"),
    ),
    OutsideSet(
        "horae_latin",
        "psalms in five Latin Books of Hours, read by machine, and 172 reference texts: spans",
        "none stated",
        "A. Hazem et al., LREC 2020, https://aclanthology.org/2020.lrec-1.97; as rows",
        ("horae_latin/docs.jsonl*",),
    ),
    OutsideSet(
        "quran",
        "114 chapters, Arabic; pairs of confusable verses, incomplete: recall only",
        "text CC BY(-SA) 4.0",
        "a verified text with lists of similar verses, https://qul.tarteel.ai; as rows",
        ("quran/docs.jsonl*",),
    ),
    OutsideSet(
        "bible",
        "books of several versions and languages; parallel passages, incomplete: recall only",
        "public domain",
        "versions in the public domain; as rows",
        ("bible/docs.jsonl*",),
    ),
    OutsideSet(
        "debian_copyright",
        "copyright files of Debian packages: licence stanzas with offsets",
        "per file, free",
        "/usr/share/doc/*/copyright of a Debian system; as rows",
        ("debian_copyright/docs.jsonl*",),
    ),
    OutsideSet(
        "impresso",
        "passages of French-language newspapers of 1900, OCR; clusters found by passim (silver)",
        "CC BY-NC 4.0",
        "the impresso project, https://impresso-project.ch; as rows",
        ("impresso/passages.jsonl*",),
    ),
    OutsideSet(
        "scancode",
        "licence texts and notices; the label is the licence expression",
        "CC BY 4.0",
        "https://github.com/aboutcode-org/scancode-toolkit, its licence data; as rows",
        ("scancode/items.jsonl*",),
    ),
    OutsideSet(
        "licenseclassifier",
        "files with the licences they contain, and 431 reference texts",
        "Apache-2.0",
        "https://github.com/google/licenseclassifier, its scenarios and assets; as rows",
        ("licenseclassifier/assets.jsonl*",),
    ),
    OutsideSet(
        "clough_stevenson",
        "95 short answers and their 5 sources: non, light, heavy, cut",
        "freely available",
        "https://ir.shef.ac.uk/cloughie/resources/plagiarism_corpus.html; as rows",
        ("clough_stevenson/docs.jsonl*",),
    ),
    OutsideSet(
        "mccormick",
        "2,500 articles, 20 duplicate pairs",
        "MIT",
        "https://github.com/chrisjmccormick/MinHash; as rows",
        ("mccormick/docs.jsonl*",),
    ),
    OutsideSet(
        "pysbd_golden",
        "326 cases of sentence segmentation in 23 languages",
        "MIT",
        "https://github.com/nipunsadvilkar/pySBD, its tests; as rows",
        ("pysbd_golden/rules.jsonl*",),
    ),
    OutsideSet(
        "ersatz",
        "running text of 24 languages, a sentence a line",
        "WMT news and UD; research use",
        "https://github.com/rewicks/ersatz-test-suite; a file for each language",
        ("ersatz/*.txt*",),
    ),
    OutsideSet(
        "natural",
        "unlabelled text of many kinds and languages, about 250 MB",
        "per file",
        "any text: rows of id and text, a JSON Lines file for each kind",
        ("natural/*.jsonl*",),
    ),
)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, each with a label.

    Attributes
    ----------
    name
        Of the set.
    ids, texts, labels
        Of each document, in the order of the file.
    """

    name: str
    ids: list[str]
    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class PairedTexts:
    """Texts, and the pairs of them that are duplicates.

    Attributes
    ----------
    name
        Of the set.
    ids, texts
        Of each document, in the order of the file.
    pairs
        Numbers of documents.
    """

    name: str
    ids: list[str]
    texts: list[str]
    pairs: list[tuple[int, int]]

    def label(self) -> LabelledTexts:
        """Return the texts with the clusters that the pairs join them to."""
        firsts = join_pairs(len(self.ids), self.pairs)
        return LabelledTexts(self.name, self.ids, self.texts, [self.ids[i] for i in firsts])


@dataclass(frozen=True)
class AlignedTexts:
    """Texts, and the passages in them that are alike.

    Attributes
    ----------
    name
        Of the set.
    ids, texts
        Of each document: references first, each part in the order of the file.
    groups
        What each is: role (``susp``, ``src``, ...) or version.
    reference_count
        How many documents at the beginning are the reference; 0 where there is none.
    gold
        The passages; `a` and `b` are numbers of documents.
    categories, ratios
        Of each passage: its category, and how alike the two sides are, 0 to 1,
        None where it is not said.
    judged
        Pairs of documents, `a` and `b` as in `gold`, of which all passages are
        known, to their category; empty where that holds for no pair.
    """

    name: str
    ids: list[str]
    texts: list[str]
    groups: list[str]
    reference_count: int
    gold: list[Passage]
    categories: list[str]
    ratios: list[float | None]
    judged: dict[tuple[int, int], str]


@dataclass(frozen=True)
class Stanza:
    """A part of a document with a label; `start` and `stop` are code points, half-open."""

    document: int
    start: int
    stop: int
    label: str


@dataclass(frozen=True)
class StanzaTexts:
    """Texts, and labelled stanzas in them."""

    name: str
    ids: list[str]
    texts: list[str]
    stanzas: list[Stanza]


@dataclass(frozen=True)
class LicenceTexts:
    """Reference texts of licences, and files with the licences they contain.

    Attributes
    ----------
    references
        Labelled with the licence.
    ids, texts
        Of the files.
    expected
        The labels of each file.
    """

    references: LabelledTexts
    ids: list[str]
    texts: list[str]
    expected: list[frozenset[str]]


@dataclass(frozen=True)
class Answers:
    """Answers and the sources some of them were copied from.

    Attributes
    ----------
    ids, texts
        Sources first.
    source_count
        How many sources there are.
    labels
        Of each text: ``orig`` for a source, else ``cut``, ``light``, ``heavy`` or
        ``non``, by how it was copied.
    sources
        Number of the source each belongs to; its own for a source.
    """

    ids: list[str]
    texts: list[str]
    source_count: int
    labels: list[str]
    sources: list[int]


def missing_sets(folder: Path) -> list[OutsideSet]:
    """Name the outside sets that are not in a folder, and how to obtain each."""
    return [
        outside
        for outside in OUTSIDE_SETS
        if not any(True for pattern in outside.files for _ in folder.glob(pattern))
    ]


def load_pan13(folder: Path) -> AlignedTexts | None:
    """Load PAN 2013 from rows; `load_published_pan` loads it as it is published.

    Raises
    ------
    InputError
        As every loader: when a file is broken or says what cannot be; it names
        the file and the line.
    """
    rows = _find(folder / "pan13", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="role", reference="src")
    judged: dict[tuple[int, int], str] = {}
    for row in _read_rows(_need(folder / "pan13", "pairs.jsonl")):
        judged[texts.number(row, "a"), texts.number(row, "b")] = row.text("category")
    return _align("pan13", texts, folder / "pan13", judged, category_field="category")


def load_published_pan(folder: Path) -> list[AlignedTexts]:
    """Load the PAN 2013 corpora that lie in a folder as they are published.

    A corpus is a folder with ``src``, ``susp`` and a folder for each category,
    which holds ``pairs``, a line of two file names for each pair, and an XML
    file for each pair with its passages. Text files may be gzipped one by one.

    Returns
    -------
    list
        By name; nothing where none is there.
    """
    roots = {path.parent for pattern in ("pan13*/susp", "pan13/*/susp")
             for path in folder.glob(pattern)}  # fmt: skip
    return [_load_pan_corpus(root) for root in sorted(roots)]


def load_horae_latin(folder: Path) -> AlignedTexts | None:
    """Load the psalms in Books of Hours; all pairs of a book and a reference are judged.

    Five gold rows name no reference (a text that is not among them): they are
    left out, so what is found there against another text is held to be wrong.
    """
    rows = _find(folder / "horae_latin", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="role", reference="reference")
    books = range(texts.reference_count, len(texts.ids))
    judged = {(book, i): "psalm" for book in books for i in range(texts.reference_count)}
    return _align(
        "horae_latin", texts, folder / "horae_latin", judged, "psalm", ratio_field="token_ratio"
    )


def load_quran(folder: Path) -> AlignedTexts | None:
    """Load the chapters of the Quran and the pairs of verses that are confused."""
    rows = _find(folder / "quran", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="lang")
    return _align("quran", texts, folder / "quran", {}, "verse", ratio_field="char_ratio")


def load_bible(folder: Path) -> AlignedTexts | None:
    """Load the books of the Bible; groups and categories are versions."""
    rows = _find(folder / "bible", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="version")
    return _align(
        "bible",
        texts,
        folder / "bible",
        {},
        category_field="version",
        ratio_field="char_ratio",
        gold_name="doublets.dev.jsonl",
    )


def load_debian_copyright(folder: Path) -> StanzaTexts | None:
    """Load the copyright files and their licence stanzas."""
    rows = _find(folder / "debian_copyright", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows)
    stanzas = []
    for row in _read_rows(_need(folder / "debian_copyright", "passages.jsonl")):
        document = texts.number(row, "doc")
        start, stop = texts.span(row, document, "start", "end")
        stanzas.append(Stanza(document, start, stop, row.text("label")))
    return StanzaTexts("debian_copyright", texts.ids, texts.texts, stanzas)


def load_impresso(folder: Path) -> LabelledTexts | None:
    """Load the newspaper passages.

    What the rows call an id is that of the article (7,295 of 10,434 passages),
    so a passage goes by article and place.
    """
    rows = _find(folder / "impresso", "passages.jsonl")
    if rows is None:
        return None
    ids, texts, labels = [], [], []
    for row in _read_rows(rows):
        ids.append(f"{row.text('article')}:{row.number('start')}-{row.number('end')}")
        texts.append(row.text("text"))
        labels.append(str(row.number("cluster")))
    return LabelledTexts("impresso", ids, texts, labels)


def load_scancode(folder: Path) -> LabelledTexts | None:
    """Load the licence texts and notices."""
    return _load_labelled(folder / "scancode", "items.jsonl")


def load_licenseclassifier(folder: Path) -> LicenceTexts | None:
    """Load the reference texts and the files with licences in them."""
    references = _load_labelled(folder / "licenseclassifier", "assets.jsonl")
    if references is None:
        return None
    ids, texts, expected = [], [], []
    for row in _read_rows(_need(folder / "licenseclassifier", "scenarios.jsonl")):
        ids.append(row.text("id"))
        texts.append(row.text("text"))
        expected.append(frozenset(row.texts("expected")))
    return LicenceTexts(references, ids, texts, expected)


def load_clough_stevenson(folder: Path) -> Answers | None:
    """Load the short answers and their sources."""
    rows = _find(folder / "clough_stevenson", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="label", reference="orig")
    sources = list(range(len(texts.ids)))
    for row in _read_rows(rows):
        if row.values.get("source") is not None:
            sources[texts.number(row, "id")] = texts.number(row, "source")
    return Answers(texts.ids, texts.texts, texts.reference_count, texts.groups, sources)


def load_mccormick(folder: Path) -> PairedTexts | None:
    """Load the articles and their duplicate pairs."""
    rows = _find(folder / "mccormick", "docs.jsonl")
    if rows is None:
        return None
    texts = _Texts.read(rows)
    pairs = [
        (texts.number(row, "a"), texts.number(row, "b"))
        for row in _read_rows(_need(folder / "mccormick", "gold_pairs.jsonl"))
    ]
    return PairedTexts("mccormick", texts.ids, texts.texts, pairs)


def load_core_2020(folder: Path) -> PairedTexts | None:
    """Load CORE 2020 as it is published: rows with `labelled_duplicates`.

    The text is the title, an empty line and the abstract, as they are
    (`original_title`, `original_abstract`). Duplicates that are not among the
    rows are left out.
    """
    names = ("core_2020", "deduplication_dataset_2020")
    paths = sorted(path for name in names for path in (folder / name).glob("*.jsonl*"))
    if not paths:
        return None
    ids: dict[str, int] = {}
    texts: list[str] = []
    duplicates: list[list[str]] = []
    for path in paths:
        for row in _read_rows(path):
            name = row.name("core_id")
            if name in ids:
                raise row.error(f"two rows have the core_id {name}")
            ids[name] = len(texts)
            parts = [row.text(field, or_none=True)
                     for field in ("original_title", "original_abstract")]  # fmt: skip
            texts.append("\n\n".join(part for part in parts if part))
            duplicates.append(row.texts("labelled_duplicates", or_none=True))
    pairs = {
        (min(i, ids[other]), max(i, ids[other]))
        for i, others in enumerate(duplicates)
        for other in others
        if other in ids and ids[other] != i
    }
    return PairedTexts("core_2020", list(ids), texts, sorted(pairs))


def load_news_copy(folder: Path) -> list[PairedTexts]:
    """Load the parts of NEWS-COPY as they are published.

    A part is two JSON files in one folder: an object of articles by id, of which
    `article` is the text (`byline` and `headline` are beside it), and an array
    of pairs of ids. The makers compare byline and article; so do we.

    Returns
    -------
    list
        By name of the folder; nothing where none is there.
    """
    root = folder / "news_copy"
    folders = {path.parent for pattern in ("*.json*", "*/*.json*") for path in root.glob(pattern)}
    return [_load_news_part(part) for part in sorted(folders)]


def _load_news_part(folder: Path) -> PairedTexts:
    articles: dict[str, str] | None = None
    edges: list[tuple[str, str]] | None = None
    for path in sorted(folder.glob("*.json*")):
        row = _Row(path, 0, _parse(path, 0, _read(path)))
        if isinstance(row.values, dict) and articles is None:
            articles = {
                name: " ".join(
                    part
                    for field in ("byline", "article")
                    if (part := row.part(name).text(field, or_none=field == "byline"))
                )
                for name in row.values
            }
        elif isinstance(row.values, list) and edges is None:
            edges = [row.pair(number) for number in range(len(row.values))]
        else:
            raise row.error("a folder holds one object of articles and one array of pairs")
    if articles is None or edges is None:
        raise InputError(str(folder), "an object of articles or an array of pairs is missing")
    ids = {name: i for i, name in enumerate(articles)}
    for edge in edges:
        for name in edge:
            if name not in ids:
                raise InputError(str(folder), f"a pair names {name!r}, which is no article")
    pairs = {(min(a, b), max(a, b)) for a, b in ((ids[one], ids[two]) for one, two in edges)}
    name = "news_copy" if folder.name == "news_copy" else f"news_copy {folder.name}"
    return PairedTexts(name, list(ids), list(articles.values()), sorted(pairs))


def _load_pan_corpus(root: Path) -> AlignedTexts:
    ids: dict[str, int] = {}
    texts: list[str] = []
    groups: list[str] = []
    counts = []
    for role in ("src", "susp"):
        for path in sorted((root / role).glob("*.txt*")):
            ids[path.name.removesuffix(".gz").removesuffix(".zst")] = len(texts)
            texts.append(_decode(path, _read(path)))
            groups.append(role)
        counts.append(len(texts))
    gold: list[Passage] = []
    categories: list[str] = []
    judged: dict[tuple[int, int], str] = {}
    for name, category in _PAN_CATEGORIES.items():
        pairs = _find(root / name, "pairs")
        if pairs is None:
            continue
        for line, words in _read_words(pairs):
            if len(words) != 2 or not set(words) <= ids.keys():
                reason = "two names of text files of src and susp are wanted"
                raise InputError(f"{pairs}, line {line}", reason)
            a, b = (ids[word] for word in words)
            judged[a, b] = category
            stems = (word.removesuffix(".txt") for word in words)
            for passage in _read_features(_need(root / name, "-".join(stems) + ".xml"), ids, texts):
                gold.append(passage)
                categories.append(category)
    names = [name.removesuffix(".txt") for name in ids]
    nothing: list[float | None] = [None] * len(gold)
    return AlignedTexts(
        root.name, names, texts, groups, counts[0], gold, categories, nothing, judged
    )


def _read_features(path: Path, ids: dict[str, int], texts: list[str]) -> list[Passage]:
    """Read the passages of an annotation file of PAN."""
    passages: list[Passage] = []
    parser = xml.parsers.expat.ParserCreate()
    reference: list[str] = []

    def fail(reason: str) -> InputError:
        return InputError(f"{path}, line {parser.CurrentLineNumber}", reason)

    def side(attributes: dict[str, str], prefix: str, name: str) -> tuple[int, int, int]:
        if name not in ids:
            raise fail(f"no text file is called {name!r}")
        try:
            start = int(attributes[f"{prefix}_offset"])
            stop = start + int(attributes[f"{prefix}_length"])
        except (KeyError, ValueError):
            raise fail(f"{prefix}_offset and {prefix}_length have to be numbers") from None
        if not 0 <= start <= stop <= len(texts[ids[name]]):
            raise fail(f"{start} to {stop} is not within {name}")
        return ids[name], start, stop

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag == "document":
            reference.append(attributes.get("reference", ""))
        elif tag == "feature" and attributes.get("name") == "plagiarism":
            own = side(attributes, "this", reference[-1] if reference else "")
            source = side(attributes, "source", attributes.get("source_reference", ""))
            passages.append(Passage(*own, *source))

    parser.StartElementHandler = begin
    try:
        parser.Parse(_read(path), True)
    except xml.parsers.expat.ExpatError as error:
        reason = xml.parsers.expat.ErrorString(error.code)
        raise InputError(f"{path}, line {error.lineno}", reason) from None
    return passages


@dataclass(frozen=True)
class _Row:
    """A JSON value and where it stands; `line` is 0 for a whole file."""

    path: Path
    line: int
    values: Any

    def error(self, reason: str) -> InputError:
        return InputError(f"{self.path}, line {self.line}" if self.line else str(self.path), reason)

    def text(self, field: str, or_none: bool = False) -> str:
        value = self.values.get(field)
        if value is None and or_none:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{field} has to be text")
        return value

    def number(self, field: str) -> int:
        value = self.values.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"{field} has to be a whole number")
        return value

    def name(self, field: str) -> str:
        """Return an id, which may be a number."""
        value = self.values.get(field)
        return str(value) if isinstance(value, int) else self.text(field)

    def texts(self, field: str, or_none: bool = False) -> list[str]:
        values = self.values.get(field)
        if values is None and or_none:
            return []
        if not isinstance(values, list) or not all(isinstance(v, str | int) for v in values):
            raise self.error(f"{field} has to be an array of text")
        return [str(value) for value in values]

    def part(self, name: str) -> "_Row":
        values = self.values[name]
        if not isinstance(values, dict):
            raise self.error(f"{name} has to be an object")
        return _Row(Path(f"{self.path}, {name}"), 0, values)

    def pair(self, number: int) -> tuple[str, str]:
        """Return a pair of ids; the makers keep more beside them."""
        values = self.values[number]
        if not isinstance(values, list) or len(values) < 2:
            raise self.error(f"item {number} has to be an array of two ids")
        return str(values[0]), str(values[1])


@dataclass(frozen=True)
class _Texts:
    """The documents of a row set, references first."""

    ids: list[str]
    texts: list[str]
    groups: list[str]
    reference_count: int
    numbers: dict[str, int]

    @classmethod
    def read(cls, path: Path, group_field: str | None = None, reference: str = "") -> "_Texts":
        parts: tuple[list[tuple[str, str, str]], ...] = ([], [])
        seen: set[str] = set()
        for row in _read_rows(path):
            name = row.text("id")
            if name in seen:
                raise row.error(f"two documents have the id {name}")
            seen.add(name)
            group = row.text(group_field) if group_field else ""
            is_reference = bool(reference) and group == reference
            parts[0 if is_reference else 1].append((name, row.text("text"), group))
        rows = parts[0] + parts[1]
        ids = [name for name, _, _ in rows]
        return cls(
            ids,
            [text for _, text, _ in rows],
            [group for _, _, group in rows],
            len(parts[0]),
            {name: i for i, name in enumerate(ids)},
        )

    def number(self, row: _Row, field: str) -> int:
        name = row.text(field)
        if name not in self.numbers:
            raise row.error(f"{field} names {name!r}, which is no document")
        return self.numbers[name]

    def span(self, row: _Row, document: int, start_field: str, stop_field: str) -> tuple[int, int]:
        start, stop = row.number(start_field), row.number(stop_field)
        if not 0 <= start <= stop <= len(self.texts[document]):
            raise row.error(f"{start_field} to {stop_field} is not within the document")
        return start, stop


def _align(
    name: str,
    texts: _Texts,
    folder: Path,
    judged: dict[tuple[int, int], str],
    category: str = "",
    category_field: str | None = None,
    ratio_field: str | None = None,
    gold_name: str = "gold.jsonl",
) -> AlignedTexts:
    """Read the gold passages of a row set; rows without a second side are left out."""
    gold: list[Passage] = []
    categories: list[str] = []
    ratios: list[float | None] = []
    for row in _read_rows(_need(folder, gold_name)):
        if row.values.get("b") is None:
            continue
        a, b = texts.number(row, "a"), texts.number(row, "b")
        own = texts.span(row, a, "a_start", "a_end")
        gold.append(Passage(a, *own, b, *texts.span(row, b, "b_start", "b_end")))
        categories.append(row.text(category_field) if category_field else category)
        ratio = row.values.get(ratio_field) if ratio_field else None
        if ratio is not None and not isinstance(ratio, float | int):
            raise row.error(f"{ratio_field} has to be a number")
        ratios.append(ratio)
    return AlignedTexts(
        name,
        texts.ids,
        texts.texts,
        texts.groups,
        texts.reference_count,
        gold,
        categories,
        ratios,
        judged,
    )


def _load_labelled(folder: Path, name: str) -> LabelledTexts | None:
    rows = _find(folder, name)
    if rows is None:
        return None
    texts = _Texts.read(rows, group_field="label")
    return LabelledTexts(folder.name, texts.ids, texts.texts, texts.groups)


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of a name, plain or packed, if there is one."""
    paths = (folder / f"{name}{ending}" for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _need(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise InputError(str(folder / name), "the file is missing")
    return path


def _read(path: Path) -> bytes:
    """Read a file, plain or packed."""
    raw = path.read_bytes()
    unpack: Callable[[bytes], bytes] | None = None
    if path.suffix == ".gz":
        unpack = gzip.decompress
    elif path.suffix == ".zst":
        import zstandard

        unpack = partial(_unpack_zstd, zstandard.ZstdDecompressor())
    if unpack is None:
        return raw
    try:
        return unpack(raw)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(str(path), f"it cannot be unpacked: {error}") from None


def _unpack_zstd(decompressor: Any, raw: bytes) -> bytes:
    unpacker = decompressor.decompressobj()
    try:
        unpacked: bytes = unpacker.decompress(raw)
    except Exception as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise EOFError("it ends too early")
    return unpacked


def _decode(path: Path, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}", f"no UTF-8 at byte {error.start}") from None


def _parse(path: Path, line: int, raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        where = f"{path}, line {line or error.lineno}"
        raise InputError(where, f"no JSON: {error.msg}") from None


def _read_rows(path: Path) -> Iterator[_Row]:
    for line, raw in enumerate(_read(path).split(b"\n"), 1):
        if raw.strip():
            row = _Row(path, line, _parse(path, line, raw))
            if not isinstance(row.values, dict):
                raise row.error("a JSON object is wanted")
            yield row


def _read_words(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that has some."""
    for line, text in enumerate(_decode(path, _read(path)).split("\n"), 1):
        if words := text.split():
            yield line, words
