"""Start: how long the command takes the first time, later, and what of it is the work."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from dedup.options import Options
from dedup.pipeline import clean_documents

_ROOT = Path(__file__).parent.parent


def measure_start(options: Options, rounds: int = 3, compiles: bool = True) -> dict[str, float]:
    """Clean the first sample with the command, and in a process that is warm.

    Parameters
    ----------
    compiles
        Whether the first run is measured too: it compiles all kernels, which
        takes about a minute.

    Returns
    -------
    dict
        Seconds: ``first`` with no compiled kernels, ``later`` in a new process
        that loads them, ``python`` that starts and imports the package only,
        ``repeated`` in one process, the library alone; medians.
    """
    sample = min((_ROOT / "seeds").glob("*.txt"))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "dedup", "clean", "-q", str(sample), "--dry-run"]
        environment = dict(os.environ)
        if compiles:
            environment["NUMBA_CACHE_DIR"] = folder
            found["first"] = _time(command, environment)
        else:
            _time(command, environment)
        found["later"] = statistics.median(_time(command, environment) for _ in range(rounds))
        importing = ["-c", "import dedup.cli"]
        found["python"] = statistics.median(_time(importing, environment) for _ in range(rounds))
    documents = [("sample", sample.read_text(encoding="utf-8"))]
    clean_documents(documents, options)
    seconds = []
    for _ in range(100):
        start = time.perf_counter()
        clean_documents(documents, options)
        seconds.append(time.perf_counter() - start)
    found["repeated"] = statistics.median(seconds)
    return found


def _time(arguments: list[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, env=environment, cwd=_ROOT
    )
    return time.perf_counter() - start
