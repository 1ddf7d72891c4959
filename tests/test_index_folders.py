"""What an index says of folders that it cannot use: the path and the cause, never a bare error."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run

from dedup import InputError, OutputError
from dedup.index import lookups
from dedup.index.index import Index

FERRY = "The ferry leaves at noon from the old pier."
NOBODY = "Nobody in the village remembered who had built the mill."


def test_a_path_that_is_or_goes_through_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"text")
    for path in (file, file / "index", file / "some" / "index"):
        with pytest.raises(OutputError, match=r"file.*: (file exists|not a directory)"):
            Index.open(path)
        with pytest.raises(InputError, match="is no index"):
            Index.open(path, create=False)
        assert run("index", "create", path).code == 5
    assert file.read_bytes() == b"text"
    Index.open(tmp_path / "index").close()
    with Index.open(tmp_path / "index") as index:
        for path in (file, file / "copy"):
            with pytest.raises(OutputError, match=r"file.*: (is there already|file exists)"):
                index.snapshot(path)
    assert file.read_bytes() == b"text"


def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    with Index.open(tmp_path / "some" / "deep" / "index") as index:
        index.add([("a", FERRY)])
        index.snapshot(tmp_path / "other" / "deep" / "copy")
    with Index.open(tmp_path / "other" / "deep" / "copy", create=False) as copy:
        assert len(copy) == 1


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "index")
    with pytest.raises(OutputError, match="link: file exists"):
        Index.open(tmp_path / "link")
    with (
        Index.open(tmp_path / "index") as index,
        pytest.raises(OutputError, match="link: is there already"),
    ):
        index.snapshot(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name too long"):
        Index.open(tmp_path / ("n" * 300))
    with (
        Index.open(tmp_path / "index") as index,
        pytest.raises(OutputError, match="name too long"),
    ):
        index.snapshot(tmp_path / ("n" * 300) / "copy")


def test_segments_that_were_removed_are_made_again(tmp_path: Path) -> None:
    documents = [("a", FERRY), ("b", f"{NOBODY} {FERRY}")]
    with Index.open(tmp_path / "index") as index:
        index.add(documents)
        index.compact()
        shutil.rmtree(tmp_path / "index" / "segments")
        # What is open can be read still.
        assert [len(one.duplicates) for one in index.check([("c", FERRY)])] == [1]
        with pytest.raises((InputError, OutputError), match="segment"):
            index.snapshot(tmp_path / "copy")
        index.reindex()
        index.snapshot(tmp_path / "copy")
        index.verify()
        assert [len(one.duplicates) for one in index.check([("c", FERRY)])] == [1]
    shutil.rmtree(tmp_path / "index" / "segments")
    with Index.open(tmp_path / "index") as index:
        with pytest.raises(InputError, match="a segment is missing; reindex makes it anew"):
            index.check([("c", FERRY)])
        index.reindex()
        assert [len(one.duplicates) for one in index.check([("c", FERRY)])] == [1]
    assert not [one.name for one in tmp_path.iterdir() if one.name.startswith(".dedup")]


def test_a_file_in_place_of_the_segments_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_CLOSING_RECENT", 1)
    with Index.open(tmp_path / "index") as index:
        index.add([("a", FERRY)])
        (tmp_path / "index" / "segments").write_bytes(b"")
        for call in (index.compact, index.reindex):
            with pytest.raises(OutputError, match="segments: file exists"):
                call()
        assert [len(one.duplicates) for one in index.check([("c", FERRY)])] == [1]
    with Index.open(tmp_path / "index") as index:
        assert [len(one.duplicates) for one in index.check([("c", FERRY)])] == [1]


# As an ordinary user: to the superuser every folder is open.
AS_NOBODY = """
import os, sys
path, command = sys.argv[1:]
from dedup import DedupError
from dedup.index.index import Index
# What is imported late may not be read later.
with Index.open(path + "/warm") as index:
    index.check([("a", "text")])
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    exec(command)
except DedupError as error:
    print(type(error).__name__, error)
else:
    print("done")
"""


@pytest.mark.parametrize(
    ("mode", "command", "expected"),
    [
        (0o555, "Index.open(path + '/new')", "OutputError {}/new: permission denied"),
        (0o555, "Index.open(path + '/some/new')", "OutputError {}/some/new: permission denied"),
        (0o000, "Index.open(path + '/index')", "OutputError {}/index: permission denied"),
        (
            0o000,
            "Index.open(path + '/index', create=False)",
            "InputError {}/index: permission denied",
        ),
        (0o555, "Index.open(path + '/index').add([('b', 'text')])", "OutputError {}/index/journal"),
        (
            0o755,
            "Index.open(path + '/shut').check([('b', 'text')])",
            "InputError {}/shut/segments/",
        ),
        (0o555, "index.snapshot(path + '/copy')", "OutputError {}/copy: permission denied"),
        (0o555, "index.snapshot(path + '/some/copy')", "OutputError {}/some/copy: permission"),
        (0o000, "index.snapshot(path + '/copy')", "OutputError {}/copy: permission denied"),
    ],
)
def test_what_may_not_be_written_is_named_with_the_cause(
    tmp_path: Path, mode: int, command: str, expected: str
) -> None:
    folder = tmp_path / "folder"
    own = tmp_path / "own"
    for path in (folder / "index", folder / "shut", own / "index"):
        with Index.open(path) as index:
            index.add([("a", FERRY)])
            index.compact()
    for file in [own, *own.rglob("*"), folder / "shut", *(folder / "shut").iterdir()]:
        file.chmod(0o777)
    (folder / "shut" / "segments").chmod(0)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    folder.chmod(mode)
    if "index." in command.removeprefix("Index."):
        command = command.replace("index.snap", f"Index.open({str(own / 'index')!r}).snap")
    code = AS_NOBODY.replace('path + "/warm"', repr(str(tmp_path / "warm")))
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), command],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        folder.chmod(0o755)
        (folder / "shut" / "segments").chmod(0o755)
    assert done.stderr == ""
    assert done.stdout.startswith(expected.format(folder))
