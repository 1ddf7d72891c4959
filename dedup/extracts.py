"""Plain text out of HTML, PDF and Word files, for which there is no way back."""

import codecs
import io
import logging
import re
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

from dedup.documents import CorpusFile, FileError, Limits, import_extra
from dedup.files import decode_source

_DECLARED_ENCODING = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)

# PDFium is not safe to enter from two threads, not even with two documents.
_PDFIUM_LOCK = threading.Lock()
_PDFIUM_PASSWORD = 4


def extract_text(file: CorpusFile, data: bytes, limits: Limits) -> str:
    """Return the text of an HTML, PDF or Word file.

    Raises
    ------
    FileError
        When the file is broken or locked, or the library is not installed.
    EncodingError
        When a page is in no encoding that is known.
    """
    if file.format == "html":
        return _html_text(file.name, data)
    if file.format == "pdf":
        return _pdf_text(file.name, data)
    return _docx_text(file.name, data, limits)


def _html_text(name: str, data: bytes) -> str:
    trafilatura = import_extra(name, "trafilatura", "html")
    logger = logging.getLogger("trafilatura")
    if not logger.handlers:
        # Else its remarks on odd pages go to stderr.
        logger.addHandler(logging.NullHandler())
    page = _decode_page(name, data)
    if not page.strip():
        return ""
    text = trafilatura.extract(page) or trafilatura.html2txt(page)
    if not text:
        # It takes a fragment of one element for no page.
        text = trafilatura.html2txt(f"<html><body>{page}</body></html>")
    return str(text or "")


def _decode_page(name: str, data: bytes) -> str:
    # UTF-8 before what the page declares: declarations outlive conversions.
    declared = _DECLARED_ENCODING.search(data[:4096])
    if declared and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        for encoding in ("utf-8-sig", declared[1].decode("ascii", "replace")):
            try:
                return data.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                continue
    return decode_source(name, data).text


def _pdf_text(name: str, data: bytes) -> str:
    pdfium = import_extra(name, "pypdfium2", "pdf")
    with _PDFIUM_LOCK:
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            if getattr(error, "err_code", None) == _PDFIUM_PASSWORD:
                raise FileError(name, "locked by a password") from error
            raise FileError(name, "not a PDF file, or a broken one") from error
        try:
            pages = [_pdf_page_text(document, number) for number in range(len(document))]
        except pdfium.PdfiumError as error:
            raise FileError(name, f"broken PDF file: {error}") from error
        finally:
            document.close()
    return "\n\n".join(page for page in pages if page)


def _pdf_page_text(document: Any, number: int) -> str:
    page = document[number]
    text_page = page.get_textpage()
    try:
        # Not get_text_range, which knows the basic plane only.
        text = str(text_page.get_text_bounded())
    finally:
        text_page.close()
        page.close()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # PDFium's sign for a hyphen that only breaks a line.
    return re.sub("[\x02\ufffe]\n?", "", text).replace("\0", "").strip("\n")


def _docx_text(name: str, data: bytes, limits: Limits) -> str:
    docx = import_extra(name, "docx", "docx")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        most = min(limits.unpacked_bytes, max(limits.ratio_from_bytes, limits.ratio * len(data)))
        if size > most:
            raise FileError(name, f"unpacks to {size} bytes, over the limit of {most}")
        document = docx.Document(io.BytesIO(data))
        return "\n\n".join(block for block in _docx_blocks(document) if block)
    except FileError:
        raise
    except Exception as error:
        # Whatever zipfile, lxml and python-docx say of what is no Word file.
        raise FileError(name, f"not a Word file, or a broken one: {error}") from error


def _docx_blocks(container: Any) -> Iterator[str]:
    """Yield the text of each paragraph and table, in order."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            yield "\n".join(_docx_row_text(row) for row in block.rows)
        else:
            yield block.text


def _docx_row_text(row: Any) -> str:
    texts = []
    seen: list[Any] = []
    for cell in row.cells:
        # A merged cell comes once for each column it covers.
        if not any(cell._tc is other for other in seen):
            seen.append(cell._tc)
            texts.append("\n".join(block for block in _docx_blocks(cell) if block))
    return "\t".join(texts)
