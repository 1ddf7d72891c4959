"""What the README says, held against what happens."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer.main
from test_service import serving

from dedup.cli import EXIT_CODES, app
from dedup.options import Options
from service.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVICE_README = (ROOT / "service" / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def sessions() -> Iterator[tuple[str, str]]:
    """Commands of the console blocks and what is shown under each."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            length = 1
            while lines[length - 1].endswith("\\\n"):
                length += 1
            yield "".join(lines[:length]).strip(), "".join(lines[length:])


def test_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    (tmp_path / "seeds").symlink_to(ROOT / "seeds")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("NO_COLOR", None)
    ran = 0
    for command, shown in sessions():
        if command.startswith(". ") or "curl " in command:
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        # The README shows what is printed once kernels are compiled: no word of that,
        # nor of a stage that takes long because of it.
        printed = re.sub(r"dedup: (compiling .*|.*: done, .* s|.*: \d+% of .*)\n", "", done.stdout)
        assert (printed, done.returncode) == (shown, 0), command
        ran += 1
    assert ran >= 3


def test_the_python_example_prints_what_the_readme_shows() -> None:
    (code,) = blocks("python")
    (shown,) = blocks("text")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue() == shown


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    flags = ("--index", folder / "index", "--disk-reserve-bytes", 0)
    with serving(folder / "log", *flags) as served:
        yield served.port


def test_curl_lines_answer_what_the_readme_shows(port: int) -> None:
    lines = [(command, shown) for command, shown in sessions() if "curl " in command]
    assert len(lines) >= 6
    for command, shown in lines:
        before, _, words = command.replace("\\\n", " ").rpartition("curl ")
        sent = b""
        if before:
            sent = subprocess.check_output(["bash", "-c", before.strip().removesuffix("|")])
        method, headers, body = "", {}, None
        url = ""
        left = iter(shlex.split(words))
        for word in left:
            if word == "-X":
                method = next(left)
            elif word == "-H":
                name, _, value = next(left).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(left).encode()
            elif word == "--data-binary":
                assert next(left) == "@-"
                body = sent
            elif word != "-s":
                url = word.removeprefix("localhost:8000")
        if body is not None:
            headers.setdefault("content-type", "application/x-www-form-urlencoded")
        answer = httpx.request(
            method or ("GET" if body is None else "POST"),
            f"http://127.0.0.1:{port}{url}",
            content=body,
            headers=headers,
        )
        assert answer.text.strip() == shown.strip(), command


def test_the_client_in_the_operators_page_prints_what_it_shows(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("python", SERVICE_README)
    (shown,) = blocks("text", SERVICE_README)
    exec(compile(code.replace(":8000", f":{port}"), "service/README.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_the_table_of_settings_is_that_of_the_settings() -> None:
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if name == "threads":
            shown = "all cores"
        elif default is None:
            shown = ""
        elif isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        else:
            shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        rows.append(f"| `{name}` | {shown} | {' '.join((field.description or '').split())} |")
    table = "\n".join(rows) + "\n"
    begin, end = "<!-- settings: begin -->\n", "<!-- settings: end -->"
    assert SERVICE_README.partition(begin)[2].partition(end)[0] == table


def test_every_option_of_the_command_is_in_the_readme_and_the_other_way_round() -> None:
    command = typer.main.get_command(app).commands["clean"]  # type: ignore[attr-defined]
    options = {
        flag
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    } - {"--help"}
    tables = [
        README.split(head)[1].split("\n\n")[0]
        for head in ("| option | |", "| option for folders and corpora | |")
    ]
    listed = set(re.findall(r"--[a-z][a-z-]*", "".join(tables)))
    # A switch is listed by the one of its two names that changes something.
    assert listed <= options
    assert options - listed == {"--numbers", "--stretches"}


@pytest.mark.parametrize("name", ["find", "compare"])
def test_every_option_of_a_smaller_command_is_in_its_section(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {
        flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")
    } - {"--help", "--quiet", "--overwrite"}
    section = README.split("## Find passages")[1].split("\n## ")[0]
    assert {flag for flag in options if f"`{flag}" not in section} == set()


def test_every_option_of_the_index_is_in_its_section() -> None:
    section = README.split("## Keep an index")[1].split("\n## ")[0]
    group = typer.main.get_command(app).commands["index"]  # type: ignore[attr-defined]
    for name, command in group.commands.items():
        assert f"`{name} " in section or f"`{name}`" in section, name
        options = {
            flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")
        } - {"--help"}
        assert {flag for flag in options if f"`{flag}" not in section} == set()


def test_exit_codes_are_in_the_readme() -> None:
    for code in set(EXIT_CODES.values()) - {1}:
        assert f" {code} " in README.split("codes:")[1].split("\n\n")[0].replace("\n", " ")


def test_defaults_in_the_readme_are_the_defaults() -> None:
    options = Options()
    assert f"`--threshold {options.threshold}`" in README
    assert f"`--min-chars {options.min_chars}`" in README


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_has_the_targets_the_readme_names(target: str) -> None:
    assert f"make {target}" in README
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
