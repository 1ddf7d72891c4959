"""The house rules: what imports what, what opens files, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dedup

ROOT = Path(dedup.__file__).parent.parent
PACKAGES = [name for name in ("dedup", "service", "benchmarks") if (ROOT / name).is_dir()]

# Reading order: a module imports only from the groups before its own, or from
# what stands before it in its own group.
ORDER = [
    "errors kernels progress",
    "options columns kinds scratch",
    "tables tables.folding tables.sentences",
    "slices orders folding",
    "sentence_rules sentences units shingles signatures descriptions groups pairs "
    "stretches words seeds chains alignments extents passages duplicates",
    "documents filters cleaned corpus results files report",
    "pipeline maps matches",
    "streams spool filelist extracts json_rows csv_rows row_groups formats",
    "checkpoints intake runs searches originals",
    "index index.segments index.databases index.journal index.postings index.askers index.lookups "
    "index.judgements index.index index.feeds",
    "cli __init__ __main__",
]
STAGES = [
    name
    for group in ORDER[:5]
    for name in group.split()
    if not name.startswith(("tables", "scratch", "progress"))
] + ["filters", "cleaned", "corpus", "results", "pipeline", "maps", "matches"]  # fmt: skip


def modules(package: str) -> list[Path]:
    return sorted(
        path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
    )


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "dedup").with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Return the modules a file imports anywhere, types alone apart."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_place_in_the_reading_order() -> None:
    placed = [name for group in ORDER for name in group.split()]
    assert {name_of(path) for path in modules("dedup")} - set(placed) == set()


@pytest.mark.parametrize("path", modules("dedup"), ids=name_of)
def test_modules_import_only_what_stands_before_them(path: Path) -> None:
    placed = [name for group in ORDER for name in group.split()]
    before = placed[: placed.index(name_of(path))]
    own = {name.removeprefix("dedup.") for name in imported(path) if name.startswith("dedup.")}
    known = own & set(placed)
    assert known <= set(before)
    outside = {name.split(".")[0] for name in imported(path)} & {"service", "benchmarks", "tests"}
    # The command starts the service.
    assert outside <= ({"service"} if path.stem == "cli" else set())


def test_no_module_is_named_for_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    for package in (*PACKAGES, "tests"):
        for path in modules(package):
            assert path.stem not in empty_names, path


def test_only_the_service_knows_http_and_only_the_command_its_library() -> None:
    for package in PACKAGES:
        for path in modules(package):
            roots = {name.split(".")[0] for name in imported(path)}
            if package == "dedup":
                web = {"fastapi", "starlette", "uvicorn", "httpx", "service"}
                assert not roots & web or path.stem == "cli", path
                assert not roots & {"fastapi", "starlette", "httpx"}, path
            if path != ROOT / "dedup" / "cli.py":
                assert not roots & {"typer", "click"}, path


@pytest.mark.parametrize("stage", STAGES)
def test_stages_open_no_files(stage: str) -> None:
    path = ROOT / "dedup" / f"{stage.replace('.', '/')}.py"
    tree = ast.parse(path.read_text())
    calls = {
        ast.unparse(node.func).split(".")[-1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert not calls & {"open", "read_text", "read_bytes", "write_text", "write_bytes", "print"}
    # The tables that come with the package are the only exception.
    if stage not in ("folding", "sentences", "sentence_rules"):
        assert not calls & {"load", "loadtxt", "fromfile", "memmap", "save"}
    assert not imported(path) & {"os", "shutil", "tempfile", "io", "socket"}


def test_only_kernels_knows_numba() -> None:
    for path in modules("dedup"):
        if path.stem != "kernels":
            assert not any(name.split(".")[0] == "numba" for name in imported(path)), path


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_public_names_can_be_imported_and_are_sorted() -> None:
    assert list(dedup.__all__) == sorted(dedup.__all__)
    for name in dedup.__all__:
        assert getattr(dedup, name).__name__ == name
        assert name in dir(dedup)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dedup.nonsense  # noqa: B018
    assert run_python("from dedup import *; print(clean('a').text, Options.__name__)") == (
        "a Options\n"
    )


def test_importing_the_package_imports_nothing_slow() -> None:
    slow = ["numba", "numpy", "datasketch", "scipy", "fastapi", "orjson", "typer", "rich"]
    code = f"import sys, dedup; print([name for name in {slow} if name in sys.modules])"
    assert run_python(code) == "[]\n"


def test_cleaning_a_text_needs_no_web_no_datasketch_and_no_unicode_data() -> None:
    slow = ["datasketch", "fastapi", "uvicorn", "typer", "rich", "unicodedataplus"]
    code = (
        "import sys\n"
        "sys.modules['unicodedataplus'] = None  # Only those who develop have it.\n"
        "import dedup\n"
        "dedup.clean('One text. ' * 9).to_json()\n"
        f"print([name for name in {slow} if sys.modules.get(name)])"
    )
    assert run_python(code) == "[]\n"
