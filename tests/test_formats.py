"""Files found, documents read out of them, and the files written back."""

import base64
import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import reference
import xxhash
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedup import json_rows
from dedup.csv_rows import _CSV_FIELD
from dedup.errors import OutputError
from dedup.formats import (
    CHANGED,
    DROPPED,
    UNCHANGED,
    Changes,
    CorpusFile,
    DocumentReader,
    Failure,
    Fields,
    FileError,
    FileRecord,
    Limits,
    find_files,
    output_name,
    read_documents,
    rewrite_file,
)
from dedup.json_rows import _replace_json_text
from dedup.streams import InputStream, OutputStream

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")

FIELDS = Fields()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "zst": lambda data: bytes(zstandard.ZstdCompressor(write_checksum=True).compress(data)),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gz": gzip.decompress,
    "zst": lambda data: bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    "bz2": bz2.decompress,
    "xz": lzma.decompress,
}
ROWS = (
    b'{"id": "a", "n": 1.50, "text": "First text."}\n'
    b"\n"
    b'{"text":"caf\\u00e9 \\ud83d\\ude00","big":123456789012345678901234567890,"id":7}\r\n'
    b"nonsense\n"
    b'{"meta": {"text": "no"}, "text" : "Gr\xc3\xbc\xc3\x9fe", "tags": ["text", "x"]}'
)
TEXTS = ["First text.", "café 😀", "Grüße"]


def only(path: Path) -> CorpusFile:
    files, failures = find_files([path])
    assert failures == []
    (file,) = files
    return file


def put(path: Path, data: bytes) -> CorpusFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return only(path)


def drain(
    file: CorpusFile, fields: Fields = FIELDS, **options: Any
) -> tuple[list[str], list[str], list[Failure], FileRecord]:
    failures: list[Failure] = []
    ids: list[str] = []
    texts: list[str] = []
    reader = read_documents(file, fields, failures, **options)
    for batch in reader:
        assert len(batch.ids) == len(batch.texts) == len(batch.dates) == len(batch.priorities)
        ids += batch.ids
        texts += [text.decode() for text in batch.texts]
    return ids, texts, failures, reader.record


def failing(file: CorpusFile, fields: Fields = FIELDS, **options: Any) -> str:
    """Read a file that fails; return the one line that says so."""
    failures: list[Failure] = []
    with pytest.raises(FileError) as caught:
        list(read_documents(file, fields, failures, **options))
    assert failures == [caught.value.failure]
    assert "\n" not in str(failures[0])
    return str(caught.value)


def rewritten(file: CorpusFile, target: Path, changes: Sequence[int | bytes]) -> bytes:
    record = drain(file)[3]
    rewrite_file(file, FIELDS, target, Changes.from_list(changes), record)
    data = target.read_bytes()
    # The same from the file alone, and the same again.
    rewrite_file(file, FIELDS, target, Changes.from_list(changes))
    assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return data


# Failures


def test_a_failure_is_one_line_that_says_where() -> None:
    failure = Failure("a.jsonl", "not JSON:\nat column 1", 3, 120)
    assert str(failure) == "a.jsonl, line 3, byte 120: not JSON: at column 1"
    assert failure.to_mapping() == {
        "source": "a.jsonl",
        "reason": "not JSON:\nat column 1",
        "line": 3,
        "byte": 120,
    }
    assert Failure("a", "gone").to_mapping() == {"source": "a", "reason": "gone"}


# The list of files


def names(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    files, failures = find_files([root], include, exclude)
    assert failures == []
    return [file.name for file in files]


def test_files_come_in_the_order_of_the_bytes_of_their_paths(tmp_path: Path) -> None:
    wanted = ["Z.txt", "a-b.txt", "a.txt", "a/b.txt", "a/é.txt", "a0.txt", "é.txt", "\U00010000.md"]
    wanted.insert(-1, "\uffee.txt")
    for seed in range(3):
        root = tmp_path / str(seed)
        for name in random.Random(seed).sample(wanted, len(wanted)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")
        assert names(root) == sorted(wanted, key=os.fsencode)


def test_formats_and_compressions_go_by_the_ending(tmp_path: Path) -> None:
    kinds = {
        "a.txt": ("text", ""),
        "b.MD.gz": ("text", "gz"),
        "c.rst.zst": ("text", "zst"),
        "d.log.bz2": ("text", "bz2"),
        "e.htm.xz": ("html", "xz"),
        "f.html": ("html", ""),
        "g.pdf": ("pdf", ""),
        "h.docx": ("docx", ""),
        "i.jsonl.gz": ("jsonl", "gz"),
        "j.ndjson": ("jsonl", ""),
        "k.csv.xz": ("csv", "xz"),
        "l.parquet": ("parquet", ""),
    }
    for name in [*kinds, "m.png", "n.gz", "README", "o.pdf.gz", "p.parquet.zst"]:
        (tmp_path / name).write_bytes(b"")
    files, failures = find_files([tmp_path])
    assert failures == []
    assert {file.name: (file.format, file.compression) for file in files} == kinds
    assert [output_name(file) for file in files if output_name(file) != file.name] == [
        "e.htm.txt.xz",
        "f.html.txt",
        "g.pdf.txt",
        "h.docx.txt",
    ]


def test_a_file_given_by_name_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("README", ".hidden", "x.tex.gz", "y.pdf.gz"):
        (tmp_path / name).write_bytes(b"x")
    files, failures = find_files(
        [tmp_path / name for name in ("README", ".hidden", "x.tex.gz", "y.pdf.gz")],
        exclude=["README"],
    )
    assert [(file.name, file.format, file.compression) for file in files] == [
        ("README", "text", ""),
        (".hidden", "text", ""),
        ("x.tex.gz", "text", "gz"),
    ]
    assert [str(failure) for failure in failures] == ["y.pdf.gz: pdf files are read unpacked only"]


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ([], [], ["a.txt", "b/c.md", "b/d/e.txt", "f[1].txt"]),
        (["*.txt"], [], ["a.txt", "b/d/e.txt", "f[1].txt"]),
        (["./*.txt"], [], ["a.txt", "b/d/e.txt", "f[1].txt"]),
        (["b/*"], [], ["b/c.md"]),
        (["b/**"], [], ["b/c.md", "b/d/e.txt"]),
        (["**/e.txt"], [], ["b/d/e.txt"]),
        (["b/**/e.txt"], [], ["b/d/e.txt"]),
        (["**/a.txt"], [], ["a.txt"]),
        (["?.txt"], ["a*"], ["b/d/e.txt"]),
        (["[a-b].txt"], [], ["a.txt"]),
        (["[!a].txt"], [], ["b/d/e.txt"]),
        (["f[[]1].txt"], [], ["f[1].txt"]),
        ([], ["d"], ["a.txt", "b/c.md", "f[1].txt"]),
        ([], ["b/"], ["a.txt", "f[1].txt"]),
        ([".h/*"], [], [".h/g.txt"]),
        (["**", ".*"], [], [".i.txt", "a.txt", "b/c.md", "b/d/e.txt", "f[1].txt"]),
    ],
)
def test_globs(tmp_path: Path, include: list[str], exclude: list[str], wanted: list[str]) -> None:
    for name in ("a.txt", "b/c.md", "b/d/e.txt", "f[1].txt", ".h/g.txt", ".i.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path, include=include, exclude=exclude) == wanted


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "z").mkdir(parents=True)
    (root / "z" / "a.txt").write_bytes(b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_bytes(b"x")
    (root / "a").symlink_to("z")
    (root / "z" / "loop").symlink_to("..")
    (root / "m").symlink_to(tmp_path / "outside")
    (root / "n").symlink_to(tmp_path / "outside")
    (root / "l.txt").symlink_to("z/a.txt")
    (root / "broken.txt").symlink_to("nowhere")
    (root / "self.txt").symlink_to("self.txt")
    files, failures = find_files([root])
    assert [file.name for file in files] == ["l.txt", "m/b.txt", "z/a.txt"]
    assert [str(failure) for failure in failures] == [
        "broken.txt: no such file or directory",
        "self.txt: too many levels of symbolic links",
        "a: link to a folder that is read already",
        "n: link to a folder that is read already",
        "z/loop: link to a folder that is read already",
    ]


def test_what_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_bytes(b"x")
    os.mkfifo(tmp_path / "a" / "pipe.txt")
    files, failures = find_files([tmp_path / "gone", tmp_path / "a", tmp_path / "a" / "pipe.txt"])
    assert [file.name for file in files] == ["x.txt"]
    assert [str(failure) for failure in failures] == [
        f"{tmp_path}/gone: no such file or directory",
        "pipe.txt: is neither a file nor a folder",
        f"{tmp_path}/a/pipe.txt: is neither a file nor a folder",
    ]


def test_a_folder_that_may_not_be_read_is_reported() -> None:
    # Root may read everything, so a process of its own gives that up.
    code = (
        "import os, sys; from pathlib import Path; from dedup.formats import find_files\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "print(*find_files([Path(sys.argv[1])])[1], sep='|')"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "b").mkdir(mode=0)
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
        )
        (Path(folder) / "b").chmod(0o700)
    assert done.stdout == "b: permission denied\n"


def test_one_name_names_one_file(tmp_path: Path) -> None:
    for name in ("a/x.txt", "b/x.txt", "c/p.html", "c/p.html.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    files, failures = find_files([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert [file.name for file in files] == ["x.txt", "p.html"]
    assert [str(failure) for failure in failures] == [
        f"x.txt: its name is taken by {tmp_path}/a/x.txt",
        f"p.html.txt: its name is taken by {tmp_path}/c/p.html",
    ]


def test_a_name_that_is_not_unicode_is_shown_with_escapes(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_bytes(b"x")
    files, _ = find_files([tmp_path])
    assert [file.name for file in files] == ["caf\\xe9.txt"]
    assert drain(files[0])[1] == ["x"]


# Packed files


@pytest.mark.parametrize("packed", PACK)
def test_rows_round_trip_through_every_compression(tmp_path: Path, packed: str) -> None:
    file = put(tmp_path / f"a.jsonl.{packed}".rstrip("."), PACK[packed](ROWS))
    ids, texts, failures, record = drain(file)
    assert (ids, texts) == (["a", "7", f"{file.name}:5"], TEXTS)
    assert [(failure.line, failure.byte) for failure in failures] == [(4, ROWS.index(b"nonsense"))]
    assert record.bad_rows == (4,)
    assert record.document_count == 3
    raw = file.path.read_bytes()
    assert record.byte_count == len(raw)
    target = tmp_path / "out" / file.name
    assert rewritten(file, target, [UNCHANGED] * 3) == raw
    data = rewritten(file, target, ["Zweite Größe".encode(), DROPPED, b'"'])
    lines = ROWS.split(b"\n")
    assert UNPACK[packed](data) == b"\n".join(
        [
            lines[0].replace(b"First text.", "Zweite Größe".encode()),
            b"",
            b"nonsense",
            lines[4].replace("Grüße".encode(), rb"\""),
        ]
    )


@pytest.mark.parametrize("packed", [name for name in PACK if name])
def test_broken_packed_files_fail_as_a_whole(tmp_path: Path, packed: str) -> None:
    rows = b"".join(b'{"id":%d,"text":"%s"}\n' % (n, random.Random(n).randbytes(99).hex().encode())
                    for n in range(60_000))  # fmt: skip
    whole = PACK[packed](rows)
    for broken in (whole[:-3], whole[: len(whole) // 2], b"no such thing", whole + b"trailing"):
        seen = {"before"}
        reason = failing(put(tmp_path / f"a.jsonl.{packed}", broken), seen=seen)
        assert f"broken {packed} file" in reason
        assert seen == {"before"}
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x55
    assert f"broken {packed} file" in failing(put(tmp_path / f"a.jsonl.{packed}", bytes(flipped)))
    # Members one after the other are one file, as for gzip and its kin.
    assert drain(put(tmp_path / f"b.txt.{packed}", PACK[packed](b"ab") + PACK[packed](b"cd")))[
        1
    ] == ["abcd"]
    assert drain(put(tmp_path / f"c.jsonl.{packed}", whole))[3].document_count == 60_000


def test_gzip_is_read_without_the_faster_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    file = put(tmp_path / "a.jsonl.gz", PACK["gz"](ROWS))
    assert drain(file)[1] == TEXTS
    assert "cut short" in failing(put(tmp_path / "b.txt.gz", PACK["gz"](ROWS)[:-3]))


@pytest.mark.parametrize("packed", [name for name in PACK if name])
def test_decompression_bombs_are_refused(tmp_path: Path, packed: str) -> None:
    file = put(tmp_path / f"a.txt.{packed}", PACK[packed](bytes(20 << 20)))
    limits = Limits(unpacked_bytes=1 << 20)
    assert "unpacks to more than 1048576 bytes" in failing(file, limits=limits)
    limits = Limits(ratio=100, ratio_from_bytes=1 << 20)
    assert "unpacks to more than 100 times its size" in failing(file, limits=limits)
    for block in InputStream(file, Limits()).blocks():
        assert len(block) <= 72 << 20


def test_libraries_that_are_missing_are_named_with_their_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {
        "a.html": ("trafilatura", "html"),
        "a.pdf": ("pypdfium2", "pdf"),
        "a.docx": ("docx", "docx"),
        "a.parquet": ("pyarrow", "parquet"),
    }
    for name, (module, extra) in wanted.items():
        monkeypatch.setitem(sys.modules, module, None)
        assert failing(put(tmp_path / name, b"x")) == (
            f"{name}: needs {module}, which is not installed: pip install 'dedup[{extra}]'"
        )


def test_the_same_input_gives_the_same_packed_bytes(tmp_path: Path) -> None:
    for packed in PACK:
        found: set[bytes] = set()
        for folder in ("a", "b"):
            file = put(tmp_path / folder / f"x.jsonl.{packed}".rstrip("."), PACK[packed](ROWS))
            os.utime(file.path, (0, len(found)))
            target = tmp_path / "out" / folder / packed / file.name
            found.add(rewritten(file, target, [b"x", UNCHANGED, UNCHANGED]))
        assert len(found) == 1
        if packed == "gz":
            # The header's time, which would differ from second to second.
            assert found.pop()[4:8] == bytes(4)


# Files that are one document


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1251"])
@pytest.mark.parametrize("packed", ["", "zst"])
def test_texts_keep_their_encoding(tmp_path: Path, encoding: str, packed: str) -> None:
    text = "Все люди рождаются свободными и равными.\r\nОни наделены разумом и совестью.\n" * 3
    file = put(tmp_path / f"a.txt.{packed}".rstrip("."), PACK[packed](text.encode(encoding)))
    ids, texts, failures, record = drain(file)
    assert (ids, texts, failures) == ([file.name], [text], [])
    assert bool(record.encoding) == (encoding != "utf-8")
    assert bool(record.note) == (encoding == "cp1251")
    target = tmp_path / "out" / file.name
    assert rewritten(file, target, [UNCHANGED]) == file.path.read_bytes()
    changed = rewritten(file, target, [text[:40].encode()])
    assert UNPACK[packed](changed) == text[:40].encode(encoding)


def test_a_document_left_out_leaves_no_file(tmp_path: Path) -> None:
    file = put(tmp_path / "a.txt", b"text")
    rewrite_file(
        file, FIELDS, tmp_path / "out" / "a.txt", Changes.from_list([DROPPED]), drain(file)[3]
    )
    assert not (tmp_path / "out").exists()


def test_what_is_no_text_in_any_encoding_fails(tmp_path: Path) -> None:
    assert "a.txt: marked as utf-8 but is not" in failing(
        put(tmp_path / "a.txt", b"\xef\xbb\xbf\xff")
    )


PAGE = """<html><head><title>T</title>%s</head><body><nav><a href="/">Home</a></nav><article>
<h1>Häuser</h1><p>%s</p><p>Second paragraph, which is about something else altogether.</p>
</article><footer>Imprint</footer></body></html>"""


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8", "utf-8"), ("utf-8", "iso-8859-1"), ("gb18030", "gb18030"), ("cp1251", "cp1251")],
)
def test_html_is_read_as_its_main_text(tmp_path: Path, encoding: str, declared: str) -> None:
    words = {"gb18030": "北京是中华人民共和国的首都。", "cp1251": "Все люди рождаются свободными. "}
    text = words.get(encoding, "Die Häuser der Straße stehen dort schon länger. ") * 8
    page = (PAGE % (f'<meta charset="{declared}">', text)).replace(
        "ä" if encoding != "utf-8" else "\0", "a"
    )
    file = put(tmp_path / "a.html", page.encode(encoding))
    ids, (found,), failures, _record = drain(file)
    assert (ids, failures) == (["a.html"], [])
    assert text.strip() in found
    assert "Second paragraph" in found
    assert "Imprint" not in found
    target = tmp_path / "out" / output_name(file)
    assert rewritten(file, target, [UNCHANGED]).decode() == found
    assert rewritten(file, target, [b"short"]) == b"short"


def test_html_without_a_main_text_is_read_as_all_its_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert drain(put(tmp_path / "a.html", b"<p>Few words</p>"))[1] == ["Few words"]
    assert drain(put(tmp_path / "b.html", b""))[1] == [""]
    assert drain(put(tmp_path / "c.html", b"<html></html>"))[1] == [""]
    xhtml = (
        b'<?xml version="1.0" encoding="utf-8"?><html><body><p>Some w\xc3\xb6rds</p></body></html>'
    )
    assert drain(put(tmp_path / "d.html", xhtml))[1] == ["Some wörds"]
    assert capfd.readouterr().err == ""


def make_pdf(*pages: str) -> bytes:
    """Write a PDF by hand, each page lines of text."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    for page in pages:
        lines = "".join(f"({line}) Tj T* " for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 14 TL 50 700 Td {lines}ET".encode("latin-1")
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font"
            b"<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>>>>>>>"
            % (len(objects) + 2)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
    kids = b" ".join(b"%d 0 R" % (3 + 2 * at) for at in range(len(pages)))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages))
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    return bytes(out)


# One blank page, encrypted (RC4, 40 bits) with the user password "secret".
LOCKED_PDF = zlib.decompress(
    base64.b85decode(
        "c-oCpO>fgc5WVlOm`jdyzrQ3a2iitLfEu}l3+iFLGaG^;yK)?<<xg_pAHW}B6QEdx1C}kV-n{o__Kg?otJMp"
        "6q1ocw_b*?W1OY?$i8T%5>v6zCrV$!xm7^qNFiW;vGV1ZjQ8Vt{(*prtrw#2HzZ?$z1d{RBTinA3FqPQC{Y<"
        "LQq?c(*yJ5qAdce`Uoe9i8dokY9emIP|Dr%+D`CGzmdO1ASw&FsZKCh1N{n2`)I@sUdcIN&5ICcw)@i)|Orj"
        "KAm)qzpbMCVnkh1GU9)lm5DlzL1fGJXRM*%VN@;5&>caw*Zc&Zlf`u~Gzyxd@cfS!=TCO729mWQ;2=QZgac$"
        "=^W}bPySZa5kaOMWPZ0Mao(Vr4t$qo-it@i}qAVOO4K|;yo5}f#iHUk0TW(z%lXsKy9xr6nMsDz5A)s|G{iL"
        "!=w!7nDb|tnro*qZFe-DV!hpdraB65hhYMJ%AddL%K-A%`Ks=#39+*_T3Jx}dK+yWVu&#!g&Iim%m1O&Jzw{"
        "Ee0rF`{$BKcO5=12#Q6HBFRpJ^><6Aj!-N"
    )
)


def test_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    file = put(tmp_path / "a.pdf", make_pdf("First line\nsecond line", "", "Straße"))
    ids, texts, failures, _ = drain(file)
    assert (ids, texts, failures) == (["a.pdf"], ["First line\nsecond line\n\nStraße"], [])
    target = tmp_path / "out" / output_name(file)
    assert rewritten(file, target, [UNCHANGED]).decode() == texts[0]
    assert target.name == "a.pdf.txt"


def test_pdfs_that_cannot_be_read_fail(tmp_path: Path) -> None:
    assert failing(put(tmp_path / "a.pdf", LOCKED_PDF)) == "a.pdf: locked by a password"
    for broken in (b"", b"no pdf", make_pdf("x")[:100]):
        reason = failing(put(tmp_path / "a.pdf", broken))
        assert reason == "a.pdf: not a PDF file, or a broken one"


def make_docx() -> bytes:
    docx: Any = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Title")
    document.add_paragraph("Before the table.")
    table = document.add_table(2, 3)
    for at, text in enumerate(("a", "b", "c", "d", "e", "f")):
        table.cell(at // 3, at % 3).text = text
    table.cell(1, 0).merge(table.cell(1, 1))
    document.add_paragraph("")
    document.add_paragraph("After it: ¼ 😀")
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


def test_word_files_are_read_in_order(tmp_path: Path) -> None:
    file = put(tmp_path / "a.docx", make_docx())
    assert drain(file)[1] == ["Title\n\nBefore the table.\n\na\tb\tc\nd\ne\tf\n\nAfter it: ¼ 😀"]
    assert rewritten(file, tmp_path / "out" / "a.docx.txt", [b"x"]) == b"x"


def test_word_files_that_cannot_be_read_fail(tmp_path: Path) -> None:
    whole = make_docx()
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "no document")
    for broken in (b"", b"no zip", whole[:-30], whole[:500], other.getvalue()):
        assert "not a Word file, or a broken one" in failing(put(tmp_path / "a.docx", broken))
    limits = Limits(unpacked_bytes=max(20_000, len(whole)))
    assert "over the limit" in failing(put(tmp_path / "a.docx", whole), limits=limits)


# JSON Lines


def test_bad_rows_are_listed_with_line_and_byte_and_pass_through(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "good"}',
        b"{",
        b"[1]",
        b'"text"',
        b"null",
        b'{"id": 1}',
        b'{"text": null}',
        b'{"text": ["x"]}',
        b'{"text": "\\ud800"}',
        b'{"text": "\xff"}',
        b"   \t\r",
        b'{"id": true, "text": "good too"}',
        b'{"id": "", "text": "a\xc2\x85b\xe2\x80\xa8c\\rd"}',
    ]
    file = put(tmp_path / "a.jsonl", b"\n".join(lines))
    ids, texts, failures, _record = drain(file)
    assert ids == ["a.jsonl:1", "a.jsonl:12", "a.jsonl:13"]
    assert texts == ["good", "good too", "a\x85b\u2028c\rd"]
    starts = [sum(len(line) + 1 for line in lines[:at]) for at in range(len(lines))]
    assert [(failure.line, failure.byte) for failure in failures] == [
        (at + 1, starts[at]) for at in range(1, 10)
    ]
    reasons = [failure.reason for failure in failures]
    assert reasons[0].startswith("not JSON: ")
    assert reasons[1:7] == [
        "not a JSON object",
        "not a JSON object",
        "not a JSON object",
        "no field 'text'",
        "field 'text' is no string",
        "field 'text' is no string",
    ]
    assert "surrogate" in reasons[7]
    assert "not JSON" in reasons[8]
    lines[0] = lines[0].replace(b"good", b"x")
    assert rewritten(file, tmp_path / "out" / "a.jsonl", [b"x", UNCHANGED, DROPPED]) == (
        b"\n".join(lines[:-1]) + b"\n"
    )


def test_ids_are_each_used_once_in_a_run(tmp_path: Path) -> None:
    seen: set[str] = set()
    first = put(tmp_path / "a.jsonl", b'{"id":"x","text":"1"}\n{"id":"x","text":"2"}\n')
    second = put(tmp_path / "b.jsonl", b'{"id":"x","text":"3"}\n{"id":"a.jsonl:2","text":"4"}')
    assert drain(first, seen=seen)[0] == ["x", "a.jsonl:2"]
    ids, texts, failures, _ = drain(second, seen=seen)
    assert (ids, texts) == (["b.jsonl:1", "b.jsonl:2"], ["3", "4"])
    assert [str(failure) for failure in failures] == [
        "b.jsonl, line 1, byte 0: id 'x' is taken; the document is named b.jsonl:1",
        "b.jsonl, line 2, byte 22: id 'a.jsonl:2' is taken; the document is named b.jsonl:2",
    ]
    assert seen == {"x", "a.jsonl:2", "b.jsonl:1", "b.jsonl:2"}


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    file = put(
        tmp_path / "a.jsonl",
        b'{"key":"k","body":"B","text":"T","when":"2020-01-01","rank":[3]}\n{"body":"C"}\n',
    )
    fields = Fields("key", "body", "when", "rank")
    (batch,) = read_documents(file, fields, [])
    assert (batch.ids, batch.texts) == (["k", "a.jsonl:2"], [b"B", b"C"])
    assert (batch.dates, batch.priorities) == (["2020-01-01", None], [[3], None])
    target = tmp_path / "out"
    rewrite_file(file, fields, target, Changes.from_list([b"N", UNCHANGED]))
    assert target.read_bytes() == file.path.read_bytes().replace(b'"B"', b'"N"')


def test_a_flood_of_bad_rows_is_counted(tmp_path: Path) -> None:
    file = put(tmp_path / "a.jsonl", b"{}\n" * 50)
    failures = drain(file, limits=Limits(bad_rows=3))[2]
    assert [str(failure) for failure in failures] == [
        "a.jsonl, line 1, byte 0: no field 'text'",
        "a.jsonl, line 2, byte 3: no field 'text'",
        "a.jsonl, line 3, byte 6: no field 'text'",
        "a.jsonl: 47 more such rows, not listed",
    ]


def test_batches_are_about_a_megabyte(tmp_path: Path) -> None:
    text = "x" * 299_999
    rows = b"".join(orjson.dumps({"id": n, "text": text}) + b"\n" for n in range(20))
    sizes = [len(batch) for batch in read_documents(put(tmp_path / "a.jsonl", rows), FIELDS, [])]
    assert sizes == [4, 4, 4, 4, 4]
    long = orjson.dumps({"text": "y" * 13_000_000})
    assert len(drain(put(tmp_path / "b.jsonl", long))[1][0]) == 13_000_000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.just("text"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4),
    st.text(),
    st.text(),
    st.booleans(),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", "  :")]),
    st.integers(0, 4),
)
def test_a_changed_row_keeps_all_its_other_bytes(
    row: dict[str, Any],
    old: str,
    new: str,
    escaped: bool,
    separators: tuple[str, str],
    place: int,
) -> None:
    items = [(key, value) for key, value in row.items() if key != "text"]
    place = min(place, len(items))
    items.insert(place, ("text", old))

    def dump(text: str) -> bytes:
        changed = {key: text if key == "text" else value for key, value in items}
        return json.dumps(changed, ensure_ascii=escaped, separators=separators).encode()

    found = _replace_json_text(dump(old), "text", new.encode())
    assert json.loads(found) == json.loads(dump(new))
    first = dict(items[:place])
    before = json.dumps(first, ensure_ascii=escaped, separators=separators).encode()[:-1]
    assert found.startswith(before)


def test_the_field_is_found_under_an_escaped_name_and_the_last_of_two() -> None:
    assert _replace_json_text(b'{"t\\u0065xt": "a"}', "text", b"b") == b'{"t\\u0065xt": "b"}'
    assert (
        _replace_json_text(b'{"text":"a","text":"b"}', "text", b"c") == b'{"text":"a","text":"c"}'
    )


def test_every_character_is_escaped_as_by_the_libraries(tmp_path: Path) -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    file = put(tmp_path / "a.jsonl", b'{"text":"a"}\n{"text":"\\u0061"}\n{"text":"b"}\n')
    assert rewritten(
        file, tmp_path / "out" / "a.jsonl", [text.encode(), text.encode(), DROPPED]
    ) == (b'{"text":%s}\n{"text":%s}\n' % (orjson.dumps(text), json.dumps(text).encode()))


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_keeps_its_dialect(tmp_path: Path, delimiter: str, end: str, mark: bytes) -> None:
    rows = [
        ["n", "id", "text", "x"],
        ["1", "a", '"First, text; with\t|all"' if delimiter else "", " y "],
        [],
        ["2", '"b"', f'"two{end}lines ""quoted"""', '"z"'],
        ["3", "c"],
        ["4", "", "Größe", "", "more"],
    ]
    data = mark + end.join(delimiter.join(row) for row in rows).encode()
    file = put(tmp_path / "a.csv", data)
    ids, texts, failures, _record = drain(file, Fields(date="x"))
    assert ids == ["a", "b", "a.csv:7"]
    assert texts == ["First, text; with\t|all", f'two{end}lines "quoted"', "Größe"]
    line_six = data.index(b"3" + delimiter.encode())
    assert [(failure.line, failure.byte, failure.reason) for failure in failures] == [
        (6, line_six, "has 2 fields, the text is the field 3")
    ]
    target = tmp_path / "out" / "a.csv"
    assert rewritten(file, target, [UNCHANGED] * 3) == data
    rows[1][2] = '"short"'
    rows[5][2] = f'"a{delimiter}""b"""'
    changes: list[int | bytes] = [b"short", DROPPED, f'a{delimiter}"b"'.encode()]
    del rows[3]
    wanted = mark + end.join(delimiter.join(row) for row in rows).encode()
    assert rewritten(file, target, changes) == wanted


def test_csv_files_that_cannot_be_read_fail(tmp_path: Path) -> None:
    assert failing(put(tmp_path / "a.csv", b"id,body\n1,x\n")) == (
        "a.csv, line 1: no column 'text' in the header, which has: id, body"
    )
    assert "no column 'text'" in failing(put(tmp_path / "a.csv", b""))
    assert "UTF-16" in failing(put(tmp_path / "a.csv", "id,text\n1,x\n".encode("utf-16")))


def test_csv_rows_that_cannot_be_read_pass_through(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", b"id,text\n1,caf\xe9\n2,a\rb\n3,good\n")
    ids, texts, failures, _ = drain(file)
    assert (ids, texts) == (["3"], ["good"])
    assert [(failure.line, failure.byte) for failure in failures] == [(2, 8), (3, 15)]
    assert failures[0].reason == "not UTF-8"
    assert failures[1].reason.startswith("not CSV: new-line character seen")
    assert rewritten(file, tmp_path / "out" / "a.csv", [b"x"]) == (
        b"id,text\n1,caf\xe9\n2,a\rb\n3,x\n"
    )


def test_csv_fields_may_be_long(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", b"text\n" + b"x" * 9_000_000 + b'\n""\n')
    assert [len(text) for text in drain(file)[1]] == [9_000_000, 0]
    assert rewritten(file, tmp_path / "out" / "a.csv", [b"", UNCHANGED]) == b'text\n""\n""\n'


@settings(max_examples=200)
@given(
    st.lists(st.text(st.sampled_from('ab",;\r\n é'), max_size=6), min_size=1, max_size=4),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(",;"),
)
def test_the_bytes_of_a_csv_field_are_found(values: list[str], quoting: Any, sign: str) -> None:
    line = io.StringIO()
    csv.writer(line, delimiter=sign, quoting=quoting, lineterminator="\r\n").writerow(values)
    raw = line.getvalue().encode()
    start = 0
    for value in values:
        found = _CSV_FIELD[sign].match(raw, start)
        assert found
        field = io.StringIO(found[0].decode(), newline="")
        assert next(csv.reader(field, delimiter=sign), [""]) == [value]
        start = found.end() + 1
    assert raw[start - 1 :] == b"\r\n"


# Parquet


def make_table() -> Any:
    """Return a table of many types."""
    rows = 1000
    return pa.table(
        {
            "n": pa.array(range(rows), pa.int16()),
            "id": pa.array([f"row{n}" if n % 7 else None for n in range(rows)]),
            "text": pa.array([f"Text {n} é" if n % 10 else None for n in range(rows)]),
            "list": pa.array([[{"a": n}] * (n % 3) for n in range(rows)]),
            "when": pa.array([datetime.datetime(2020, 1, 1) + datetime.timedelta(n)
                              for n in range(rows)], pa.timestamp("ns")),
        },
        metadata={"origin": "here"},
    )  # fmt: skip


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "none"])
def test_parquet_keeps_schema_codec_and_other_columns(tmp_path: Path, codec: str) -> None:
    table = make_table()
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression=codec, row_group_size=300)
    file = only(path)
    ids, texts, failures, _record = drain(file, Fields(date="when", priority="n"))
    rows = [n for n in range(1000) if n % 10]
    assert texts == [f"Text {n} é" for n in rows]
    assert ids == [f"row{n}" if n % 7 else f"a.parquet:{n + 1}" for n in rows]
    assert [failure.line for failure in failures] == [n + 1 for n in range(0, 1000, 10)]
    assert {(failure.byte, failure.reason) for failure in failures} == {(None, "no text")}
    target = tmp_path / "out" / "a.parquet"
    assert rewritten(file, target, [UNCHANGED] * 900) == path.read_bytes()
    changes: list[int | bytes] = [
        b"new" if n % 3 == 0 else DROPPED if n % 3 == 1 else UNCHANGED for n in rows
    ]
    rewritten(file, target, changes)
    found = pq.ParquetFile(target)
    wanted = [
        row | {"text": "new"} if row["n"] % 10 and row["n"] % 3 == 0 else row
        for row in table.to_pylist()
        if row["n"] % 10 == 0 or row["n"] % 3 != 1
    ]
    assert found.read().to_pylist() == wanted
    assert found.schema_arrow.equals(pq.read_schema(path), check_metadata=True)
    before = pq.ParquetFile(path).metadata
    assert found.metadata.num_row_groups == before.num_row_groups == 4
    for column in range(before.num_columns):
        for facts in ("path_in_schema", "compression"):
            assert getattr(found.metadata.row_group(0).column(column), facts) == getattr(
                before.row_group(0).column(column), facts
            )


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_parquet_texts_of_every_string_type(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": pa.array(["a", "b", None, "b"]).cast(kind), "id": [1, 2, 3, 4]})
    pq.write_table(table, path)
    file = only(path)
    assert drain(file)[:2] == (["1", "2", "4"], ["a", "b", "b"])
    rewritten(file, tmp_path / "out" / "a.parquet", [b"n", UNCHANGED, DROPPED])
    found = pq.ParquetFile(tmp_path / "out" / "a.parquet").read()
    assert found.to_pylist() == [
        {"text": "n", "id": 1},
        {"text": "b", "id": 2},
        {"text": None, "id": 3},
    ]
    assert found.schema.equals(table.schema)


def test_parquet_dates_and_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bad = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad, "d": [datetime.date(2020, 1, 2), None]}), path)
    failures: list[Failure] = []
    file = only(path)
    (batch,) = read_documents(file, Fields(date="d", priority="missing"), failures)
    assert (batch.dates, batch.priorities) == ([datetime.date(2020, 1, 2)], [None])
    assert [str(failure) for failure in failures] == ["a.parquet, line 2: not UTF-8"]
    rewritten(file, tmp_path / "out" / "a.parquet", [b"x"])
    column = pq.read_table(tmp_path / "out" / "a.parquet")["text"]
    assert column.cast(pa.binary()).to_pylist() == [b"x", b"\xff"]


def test_parquet_files_that_cannot_be_read_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(make_table(), path, compression="none", row_group_size=100)
    whole = path.read_bytes()
    for broken in (b"", b"PAR1", whole[:-9], whole[: len(whole) // 2]):
        assert "broken Parquet file" in failing(put(path, broken))
    pq.write_table(make_table(), path, compression="none", write_page_checksum=True)
    summed = bytearray(path.read_bytes())
    summed[summed.index(b"Text 1 ")] ^= 1
    assert "broken Parquet file" in failing(put(path, bytes(summed)))
    put(path, whole)
    assert failing(only(path), Fields(text="body")) == (
        "a.parquet: no column 'body' among: n, id, text, list, when"
    )
    assert failing(only(path), Fields(text="n")) == (
        "a.parquet: column 'n' is int16, expected string"
    )


def test_empty_row_files(tmp_path: Path) -> None:
    pq.write_table(make_table().slice(0, 0), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "a.csv").write_bytes(b"id,text")
    for name in ("a.parquet", "a.jsonl", "a.csv"):
        file = only(tmp_path / name)
        assert drain(file)[:3] == ([], [], [])
        assert rewritten(file, tmp_path / name.replace("a.", "out/") / name, []) == (
            file.path.read_bytes()
        )


# Files that change, vanish, or cannot be written


def test_a_file_that_is_another_the_second_time_is_refused(tmp_path: Path) -> None:
    later = {
        "same size": ROWS.replace(b"First", b"Other"),
        "longer": ROWS + b'\n{"text": "more"}',
        "shorter": ROWS[:60],
        "no rows": b"",
    }
    for packed in ("", "gz"):
        file = put(tmp_path / f"a.jsonl.{packed}".rstrip("."), PACK[packed](ROWS))
        record = drain(file)[3]
        for data in later.values():
            for changes in (Changes.from_list([b"x"] * 3), Changes.from_list([UNCHANGED] * 3)):
                file.path.write_bytes(PACK[packed](data))
                with pytest.raises(FileError, match="changed while it was read"):
                    rewrite_file(file, FIELDS, tmp_path / "out" / "a", changes, record)
        file.path.write_bytes(b"no gzip")
        with pytest.raises(FileError, match="changed while it was read"):
            rewrite_file(
                file, FIELDS, tmp_path / "out" / "a", Changes.from_list([b"x"] * 3), record
            )
        file.path.unlink()
        with pytest.raises(FileError, match="no such file"):
            rewrite_file(
                file, FIELDS, tmp_path / "out" / "a", Changes.from_list([b"x"] * 3), record
            )
    for name in ("b.txt", "b.csv"):
        file = put(tmp_path / name, b"text\none\n")
        record = drain(file)[3]
        file.path.write_bytes(b"body\ntwo\n")
        for change in (b"x", UNCHANGED):
            with pytest.raises(FileError, match="changed while it was read"):
                rewrite_file(
                    file, FIELDS, tmp_path / "out" / "a", Changes.from_list([change]), record
                )
    assert not [*(tmp_path / "out").iterdir()] if (tmp_path / "out").exists() else True


def test_a_file_that_grows_while_it_is_read_fails(tmp_path: Path) -> None:
    file = put(tmp_path / "a.jsonl", b'{"text": "%s"}\n' % (b"x" * 1_000_000) * 20)
    failures: list[Failure] = []
    reader = read_documents(file, FIELDS, failures)
    next(reader)
    with file.path.open("r+b") as stream:
        stream.truncate(9_000_000)
    with pytest.raises(FileError, match="changed while it was read"):
        list(reader)
    assert [str(failure) for failure in failures] == ["a.jsonl: changed while it was read"]


def test_a_file_that_vanished_fails(tmp_path: Path) -> None:
    file = put(tmp_path / "a.txt", b"x")
    file.path.unlink()
    assert failing(file) == "a.txt: no such file or directory"


def test_the_record_is_there_once_the_file_was_read(tmp_path: Path) -> None:
    reader = read_documents(put(tmp_path / "a.txt", b"x"), FIELDS, [])
    assert isinstance(reader, DocumentReader)
    with pytest.raises(RuntimeError, match="not read to its end"):
        reader.record  # noqa: B018
    list(reader)
    assert reader.record.checksum == xxhash.xxh3_64_hexdigest(b"x")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("changes", [[b"x"], [b"x"] * 3, [UNCHANGED] * 3, [UNCHANGED]])
def test_changes_must_be_as_many_as_documents(
    tmp_path: Path, name: str, changes: list[int | bytes]
) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"text": ["a", "b"]}), path)
    else:
        path.write_bytes(b"text\na\nb\n" if name == "a.csv" else b'{"text":"a"}\n{"text":"b"}\n')
    if name == "a.txt":
        changes = [*changes, b"x"] if len(changes) > 1 else []
    file = only(path)
    with pytest.raises(ValueError, match="not as many changes as documents: "):
        rewrite_file(
            file, FIELDS, tmp_path / "out" / name, Changes.from_list(changes), drain(file)[3]
        )
    assert not (tmp_path / "out" / name).exists()


def test_what_cannot_be_written_leaves_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    record = drain(file)[3]
    for target in (tmp_path / "file" / "a", tmp_path / "folder"):
        with pytest.raises(OutputError):
            rewrite_file(file, FIELDS, target, Changes.from_list([b"x"] * 3), record)

    def stop(stream: OutputStream, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OutputStream, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        rewrite_file(file, FIELDS, tmp_path / "file", Changes.from_list([b"x"] * 3), record)
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "file", "folder"]


@pytest.mark.parametrize("packed", PACK)
def test_a_full_disk_is_an_output_error(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = b'{"text": "%s"}\n' % random.Random(1).randbytes(500_000).hex().encode()
    file = put(tmp_path / f"a.jsonl.{packed}".rstrip("."), PACK[packed](rows * 3))
    record = drain(file)[3]
    (tmp_path / "out").mkdir()
    opened = Path.open

    def open_full(path: Path, mode: str = "r", *rest: Any) -> Any:
        return opened(Path("/dev/full"), "wb") if mode == "xb" else opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OutputError, match="no space left on device"):
        rewrite_file(
            file,
            FIELDS,
            tmp_path / "out" / "a",
            Changes.from_list([b"x", UNCHANGED, UNCHANGED]),
            record,
        )
    assert [*(tmp_path / "out").iterdir()] == []


def test_long_names_can_be_written(tmp_path: Path) -> None:
    file = put(tmp_path / ("文" * 83 + ".txt"), b"text")
    rewrite_file(
        file, FIELDS, tmp_path / "out" / file.name, Changes.from_list([b"x"]), drain(file)[3]
    )
    assert (tmp_path / "out" / file.name).read_bytes() == b"x"


def test_importing_the_formats_imports_no_heavy_library() -> None:
    heavy = ["pyarrow", "trafilatura", "lxml", "pypdfium2", "docx", "zstandard", "isal"]
    code = f"import sys, dedup.formats; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["text", "te", "id", "text2", 'te"xt']), JSON_VALUES),
    st.text(max_size=12),
    st.booleans(),
)
@example({}, 'some text of "words"', False)
def test_the_kernel_finds_the_string_that_its_definition_finds(
    row: dict[str, object], text: str, escaped: bool
) -> None:
    row = {**row, "text": text, "more": {"text": "no"}}
    line = json.dumps(row).encode() if escaped else orjson.dumps(row)
    block = np.frombuffer(b"[" + line + b'"', np.uint8)
    name = np.frombuffer(b"text", np.uint8)
    found = json_rows._find_string(block, 1, len(block) - 1, name)
    found = tuple(max(position - 1, -1) for position in found)
    expected = json_rows._find_json_string(line, "text")
    if found != (-1, -1):
        assert found == expected
        assert orjson.loads(line[slice(*found)]) == text
    else:
        assert b'te\\"xt' in line


ROW_TEXTS = st.text(
    st.sampled_from('ab{}[],:u \\"/\n\r\t\b\f\0\x1f\x7f') | st.sampled_from("éß文😀"), max_size=40
)
KEYS = ['"text"'] * 4 + [
    '"id"', '"te"', '"text2"', '"t\\u0065xt"', '"te\\"xt"', '"é"', '"\\\\text"',
]  # fmt: skip
NO_ROWS = [
    b"nonsense",
    b"{}",
    b"[1]",
    b'"text"',
    b'{"text": 5}',
    b'{"text": "a',
    b'{"text":"\xff"}',
]


@st.composite
def draw_json_line(draw: st.DrawFn) -> bytes:
    """Draw a row as some program may have written it, or a line that is none."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(NO_ROWS))
    if kind == 1:
        return draw(st.sampled_from([b"", b"\r", b" \t\x0b\x0c\r"]))
    escaped = draw(st.booleans())
    space = st.sampled_from(["", "", " ", "\t "])
    items = []
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)):
        value = draw(ROW_TEXTS if key == '"text"' else JSON_VALUES)
        dumped = json.dumps(value, ensure_ascii=escaped)
        if draw(st.booleans()):
            dumped = dumped.replace("/", "\\/").replace("a", "\\u0061")
        items.append(f"{draw(space)}{key}{draw(space)}:{draw(space)}{dumped}{draw(space)}")
    end = draw(st.sampled_from(["", "\r"]))
    return f"{draw(space)}{{{','.join(items)}}}{draw(space)}{end}".encode()


@settings(max_examples=300)
@given(
    st.lists(draw_json_line(), max_size=8),
    st.lists(st.booleans() | st.lists(ROW_TEXTS, max_size=3), min_size=8, max_size=8),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.booleans(),
    st.integers(1, 300),
)
@example([b'{"text":""}', b'{"text":"\\u001f"}'], [False, ["\x7f"]], b"", False, 1)
def test_json_lines_are_written_as_by_their_definition(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    wanted: list[bool | list[str]],
    mark: bytes,
    is_ended: bool,
    block_bytes: int,
) -> None:
    data = mark + b"".join(line + b"\n" for line in lines)
    file = put(tmp_path_factory.getbasetemp() / "drawn.jsonl", data if is_ended else data[:-1])
    record = drain(file)[3]
    del wanted[record.document_count :]
    # One document, of another file, before those of this.
    data, starts, stops, offsets = b"before", [0], [6], [1]
    for change in wanted:
        for part in change if isinstance(change, list) else []:
            starts.append(len(data) + 1)
            data += b"\0" + part.encode()
            stops.append(len(data))
        offsets.append(len(starts))
    changes = Changes(
        np.frombuffer(data, np.uint8),
        np.array([CHANGED if isinstance(change, list) else UNCHANGED if change else DROPPED
                  for change in wanted], np.uint8),
        np.array(starts),
        np.array(stops),
        np.array(offsets),
    )  # fmt: skip
    out = bytearray()
    with pytest.MonkeyPatch.context() as patch:
        for module in ("json_rows", "streams"):
            patch.setattr(f"dedup.{module}.BLOCK_BYTES", block_bytes)
        stream = InputStream(file, Limits())
        json_rows.rewrite_json(stream, FIELDS, changes, record.bad_rows, out.extend)
    texts = ["".join(change) if isinstance(change, list) else change for change in wanted]
    expected = reference.rewrite_json(file.path.read_bytes(), "text", texts, record.bad_rows)
    assert bytes(out) == expected
