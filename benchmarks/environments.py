"""Environments: where peers stand whose packages would not agree with ours.

dolma asks for numpy below 2, text-dedup brings 1.3 GB of packages with Spark among
them. Each such peer gets a virtual environment of its own, made when it is first
asked for and kept for the next run. Nothing else of the harness installs anything.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import PEERS
from benchmarks.processes import ROOT

# What the harness's own side of a process reads rows with.
_ORJSON = "orjson==3.13.0"

# Distribution to what is installed for it. Below what a peer asks for itself stands
# what has to be held: pip gave up on dolma's Amazon packages after 400 s of trying
# one version after another, and wordllama brings the model, which semhash does not.
PINS = {
    "datatrove": (
        "datatrove==0.10.1",
        # Imported by it, but asked for only in an extra with much else.
        "regex==2026.11.15",
        "tokenizers==0.23.3",
        "xxhash==3.6.0",
        _ORJSON,
    ),
    "dolma": (
        "dolma==1.2.1",
        "aiobotocore==2.5.4",
        "boto3==1.28.17",
        "botocore==1.31.17",
        "fsspec==2023.6.0",
        "huggingface-hub==0.36.2",
        "numpy==1.26.4",
        "omegaconf==2.4.0",
        "s3fs==2023.6.0",
        "tokenizers==0.19.1",
        "urllib3==1.26.20",
        _ORJSON,
    ),
    "redis": (
        "redis==8.1.0",
        "datasketch==2.0.0",
        "numpy==2.4.6",
    ),
    "rocksdict": (
        "rocksdict==0.3.29",
        "numpy==2.4.6",
    ),
    "semhash": (
        "semhash==0.5.0",
        "wordllama==0.4.0.post1",
        _ORJSON,
    ),
    "text-dedup": (
        "text-dedup==0.4.0",
        "datasets==5.2.0",
        "numpy==2.4.6",
        "pyspark==4.3.0",
        _ORJSON,
    ),
}

# How long an installation may take: text-dedup, the slowest, took 73 s.
_INSTALL_SECONDS = 900

_STAMP = "pins.json"
_ADDRESS = re.compile(r"\w+://\S+")


class EnvironmentMissingError(RuntimeError):
    """An environment could not be made; says for what and why."""

    def __init__(self, distribution: str, cause: str) -> None:
        super().__init__(f"no environment for {distribution}: {cause}")
        self.distribution = distribution
        self.cause = cause


class Place(NamedTuple):
    """Where a peer stands.

    Attributes
    ----------
    python
        The interpreter that has it.
    version
        The version of its distribution.
    """

    python: str
    version: str


def environments_folder() -> Path:
    """Return the folder of all environments: ``DEDUP_BENCH_ENVS``, or one in the user's cache."""
    if chosen := os.environ.get("DEDUP_BENCH_ENVS"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dedup-benchmarks"


def find_environment(distribution: str, pins: Iterable[str]) -> Path | None:
    """Return the interpreter of a whole environment with these pins, or none."""
    folder = _folder_of(distribution)
    python = folder / "bin" / "python"
    stamp = folder / _STAMP
    is_whole = stamp.exists() and stamp.read_text(encoding="utf-8") == _to_stamp(pins)
    # A link to an interpreter that is gone does not exist.
    return python if is_whole and python.exists() else None


def make_environment(distribution: str, pins: Iterable[str]) -> Path:
    """Make an environment, unless it is there, and return its interpreter.

    The stamp that says what it holds is written last: what has none, or another,
    is removed and made again. A lock makes a second process wait for the first.

    Raises
    ------
    EnvironmentMissingError
        When it cannot be made, for want of a network or of packages for this Python.
    """
    pins = tuple(pins)
    folder = _folder_of(distribution)
    try:
        with _lock(folder.with_name(f"{folder.name}.lock")):
            if python := find_environment(distribution, pins):
                return python
            shutil.rmtree(folder, ignore_errors=True)
            try:
                venv.create(folder, symlinks=True)
                python = folder / "bin" / "python"
                _install(python, pins)
                (folder / _STAMP).write_text(_to_stamp(pins), encoding="utf-8")
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return python
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentMissingError(distribution, _say_why(error)) from error


def find_peers(
    names: Collection[str], pythons: Iterable[str] = ()
) -> tuple[dict[str, Place], dict[str, str]]:
    """Find peers, and make the environments of those that need one of their own.

    Parameters
    ----------
    pythons
        Interpreters to look in first: before this one, and before any environment.

    Returns
    -------
    found, missing
        Name to place, and name to why it is not there.
    """
    found: dict[str, Place] = {}
    missing: dict[str, str] = {}
    versions = [(python, _installed(python)) for python in [*pythons, sys.executable]]
    made: dict[str, tuple[str, dict[str, str]]] = {}
    for name in names:
        distribution = PEERS[name].distribution
        places = versions
        if distribution in PINS:
            # This interpreter would have it among packages of other versions.
            places = versions[:-1]
            if not any(name in installed for _, installed in places):
                try:
                    if distribution not in made:
                        python = str(make_environment(distribution, PINS[distribution]))
                        made[distribution] = (python, _installed(python))
                except EnvironmentMissingError as error:
                    missing[name] = error.cause
                    continue
                places = [made[distribution]]
        for python, installed in places:
            if name in installed:
                found[name] = Place(python, installed[name])
                break
        else:
            missing[name] = "not installed; it comes with the extra bench"
    return found, missing


def _folder_of(distribution: str) -> Path:
    # One for each Python: what is compiled for one is of no use to another.
    major, minor, _ = platform.python_version_tuple()
    return environments_folder() / f"{distribution}-{major}.{minor}"


def _to_stamp(pins: Iterable[str]) -> str:
    return json.dumps(list(pins), indent=1) + "\n"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(python: Path, pins: Iterable[str]) -> None:
    uv = shutil.which("uv")
    # Ours installs into theirs: a pip for each environment would take 3 s to copy.
    installer = (
        [uv, "pip", "install", "--quiet", "--python", str(python)]
        if uv
        else [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    )
    subprocess.run(
        [*installer, *pins],
        capture_output=True,
        text=True,
        check=True,
        timeout=_INSTALL_SECONDS,
        # An answer that is asked for on a terminal would never come.
        env={**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


def _say_why(error: Exception) -> str:
    """Return the last error an installer named, without addresses."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"installing took more than {_INSTALL_SECONDS} s"
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        told = [line for line in lines if line.lower().startswith(("error", "×"))] or lines
        return (
            _ADDRESS.sub("...", told[-1]) if told else f"installing ended with {error.returncode}"
        )
    return f"{type(error).__name__}: {error}"


def _installed(python: str) -> dict[str, str]:
    """Return the versions of the peers an interpreter has."""
    done = subprocess.run(
        [python, "-m", "benchmarks.processes", "--versions"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
