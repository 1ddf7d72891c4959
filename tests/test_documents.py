"""What the README says, held against what happens."""

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer.main

from dedup.cli import EXIT_CODES, app
from dedup.options import Options

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


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
        if command.startswith((". ", "curl ")):
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
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "dedup", "serve", "--port", str(number)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(1200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{number}/livez")
                break
            time.sleep(0.05)
        yield number
    finally:
        server.terminate()
        server.wait(20)


def test_curl_lines_answer_what_the_readme_shows(port: int) -> None:
    lines = [(command, shown) for command, shown in sessions() if command.startswith("curl ")]
    assert lines
    for command, shown in lines:
        words = shlex.split(command.replace("\\\n", " "))
        url = next(word for word in words if word.startswith("localhost:8000"))
        header = words[words.index("-H") + 1].split(": ")
        answer = httpx.post(
            f"http://127.0.0.1:{port}{url.removeprefix('localhost:8000')}",
            content=words[words.index("-d") + 1],
            headers=dict([header]),
        )
        assert answer.text == shown.strip()


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
