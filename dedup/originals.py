"""Originals of a run: the files of a cleaned mirror, with what was taken out put back."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from dedup import formats
from dedup.corpus import TextBuffer
from dedup.errors import InputError, MapError
from dedup.files import decode_cleaned, read_map
from dedup.formats import CHANGED, UNCHANGED, Changes, CorpusFile, Fields, FileRecord, Limits
from dedup.results import restore
from dedup.runs import MANIFEST_NAME, MAP_NAME, check_out
from dedup.scratch import Scratch, find_free_bytes
from dedup.streams import InputStream, OutputStream

Records = Iterator[tuple[int, dict[str, Any]]]


@dataclass
class Originals:
    """What became of the files of a mirror.

    Attributes
    ----------
    count
        Files that were rebuilt.
    other_bytes
        How many of them have the texts of the original, but not its bytes:
        they were packed anew, or characters in them are escaped in another way.
    problems
        A line for each file that should have been rebuilt and could not be.
    extracts
        Files that are not rebuilt, for their mirror is text that was taken out
        of them, by format.
    """

    count: int = 0
    other_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    extracts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Mirror:
    """A file of a mirror, and what the manifest says of the one that it was made of."""

    file: CorpusFile
    document_count: int
    checksum: str


def restore_tree(folder: str, out: str, *, overwrite: bool = False) -> Originals:
    """Rebuild the files of a cleaned mirror.

    Parameters
    ----------
    folder
        What `runs.run` wrote, map and manifest in it.
    out
        Where the originals go.

    Raises
    ------
    InputError, MapError
        When there is no map or manifest, or none that parses, or they are not
        of one run.
    OutputError
        When the originals cannot be written, or would mix with the mirror.

    Notes
    -----
    Rows are rebuilt in the mirror of their file: all that is not their text is
    taken from there. What does not fit in memory stands in files without a
    name, in the file system of `out`.
    """
    map_file = str(Path(folder) / MAP_NAME)
    check_out(out, [folder], overwrite)
    fields, mirrors = _read_manifest(Path(folder), Path(out))
    records = ((line, row) for line, row in read_map(map_file) if "kept" in row)
    found = Originals()
    with Scratch(find_free_bytes() // 2, out) as scratch:
        for mirror in mirrors:
            own = _take(records, mirror, map_file)
            _rebuild(mirror, own, map_file, Path(out), fields, scratch, found)
            # Those that a problem left over.
            for _ in own:
                pass
    for line, _ in records:
        raise MapError(map_file, f"has more documents than {MANIFEST_NAME} beside it", line)
    return found


def _take(records: Records, mirror: _Mirror, map_file: str) -> Records:
    """Yield the records of the documents of a file, which are the next."""
    for _ in range(mirror.document_count):
        record = next(records, None)
        if record is None:
            raise MapError(map_file, f"the map ends before the documents of {mirror.file.name}")
        yield record


def _read_manifest(folder: Path, out: Path) -> tuple[Fields, list[_Mirror]]:
    """Return the fields of rows, and the files in the order of their documents in the map."""
    path = folder / MANIFEST_NAME
    try:
        manifest = orjson.loads(path.read_bytes())
        fields = Fields(**manifest["fields"])
        mirrors = [
            _Mirror(
                CorpusFile(folder / name, name, *formats.kind_of(name)),
                int(one["documents"]),
                str(one["checksum"]),
            )
            for one in manifest["inputs"]
            if not one["reference"]
            for name in [str(one["file"])]
        ]
    except OSError as error:
        raise InputError(str(path), (error.strerror or str(error)).lower()) from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise MapError(str(path), f"not the manifest of a run: {error!r}") from error
    for mirror in mirrors:
        name = mirror.file.name
        if not (out / name).resolve().is_relative_to(out.resolve()):
            raise MapError(str(path), f"{name} leads out of the folder")
    return fields, mirrors


def _rebuild(
    mirror: _Mirror,
    records: Records,
    map_file: str,
    out: Path,
    fields: Fields,
    scratch: Scratch,
    found: Originals,
) -> None:
    file = mirror.file
    if formats.output_name(file) != file.name:
        found.extracts[file.format] += 1
        return
    target = out / file.name
    try:
        if file.format == "text":
            _rebuild_text(mirror, records, map_file, target)
        else:
            _rebuild_rows(mirror, records, map_file, target, fields, scratch)
    except (InputError, MapError) as error:
        found.problems.append(f"{file.name}: {error.reason}")
        return
    found.count += 1
    found.other_bytes += _raw_record(target).checksum != mirror.checksum


def _rebuild_text(mirror: _Mirror, records: Records, map_file: str, target: Path) -> None:
    file = mirror.file
    record = _next_record(records, map_file)
    if record.get("dropped"):
        raise InputError(file.name, "left out of the mirror, so not to be rebuilt")
    packed = file
    if _raw_record(file.path).checksum == mirror.checksum:
        # Nothing was taken out; packed anew it might have other bytes.
        packed = CorpusFile(file.path, file.name, file.format)
        data = InputStream(packed, Limits()).read()
    else:
        cleaned = InputStream(file, Limits()).read()
        source = decode_cleaned(file.name, cleaned, record, map_file)
        data = source.encode(restore(source.text, record, map_file))
    with OutputStream(target, packed.compression) as output:
        output.write(data)


def _rebuild_rows(
    mirror: _Mirror,
    records: Records,
    map_file: str,
    target: Path,
    fields: Fields,
    scratch: Scratch,
) -> None:
    file = mirror.file
    buffer = TextBuffer(0, scratch)
    actions = []
    dropped_count = 0
    reader = formats.read_documents(file, fields, [])
    for batch in reader:
        originals = []
        for cleaned in batch.texts:
            record = _next_record(records, map_file)
            while record.get("dropped"):
                dropped_count += 1
                record = _next_record(records, map_file)
            original = _restore_row(cleaned, record, map_file)
            actions.append(UNCHANGED if original == cleaned else CHANGED)
            originals.append(b"" if original == cleaned else original)
        buffer.append(originals)
    for _, record in records:
        if not record.get("dropped"):
            raise MapError(map_file, "holds fewer rows than the map has documents of it")
        dropped_count += 1
    if dropped_count:
        reason = f"{dropped_count:,} of its rows were left out of the mirror, so not to be rebuilt"
        raise InputError(file.name, reason)
    texts = buffer.texts()
    changes = Changes(
        texts.data,
        np.array(actions, np.uint8),
        texts.offsets[:-1],
        texts.offsets[1:],
        np.arange(len(actions) + 1),
    )
    formats.rewrite_file(file, fields, target, changes, reader.record)


def _restore_row(cleaned: bytes, record: Mapping[str, Any], map_file: str) -> bytes:
    try:
        return restore(cleaned.decode(), record, map_file).encode()
    except MapError as error:
        raise MapError(map_file, f"document {record.get('document')!r}: {error.reason}") from None


def _next_record(records: Records, map_file: str) -> Mapping[str, Any]:
    for _, record in records:
        return record
    raise MapError(map_file, "holds more rows than the map has documents of it")


def _raw_record(path: Path) -> FileRecord:
    """Return checksum and size of a file as it is."""
    stream = InputStream(CorpusFile(path, path.name, "text"), Limits())
    for _ in stream.blocks():
        pass
    return stream.record()
