"""Run benchmarks: ``python -m benchmarks all --data ../shared/data``."""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import comparison, quality, speed, tables, workloads
from dedup.options import Options, candidate_probability

_GATE_PATH = Path(__file__).parent / "gate.json"


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("area", choices=["all", "quality", "speed", "gate", "readme"])
    parser.add_argument("--data", type=Path, default=tables.ROOT.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true", help="smaller texts, fewer rounds")
    parser.add_argument(
        "--peer-python",
        action="append",
        default=[],
        metavar="PATH",
        help="another interpreter to look for peers in, which needs orjson (repeatable)",
    )
    parser.add_argument("--write-gate", action="store_true", help="set the gate from this run")
    arguments = parser.parse_args()
    if arguments.area == "gate":
        return _gate(arguments.write_gate)
    results: dict[str, Any] = {}
    if tables.RESULTS_PATH.exists():
        results = json.loads(tables.RESULTS_PATH.read_text())
    if arguments.area != "readme":
        results |= _measure(arguments.area, arguments.data, arguments.quick, arguments.peer_python)
        if not arguments.quick:
            tables.RESULTS_PATH.parent.mkdir(exist_ok=True)
            tables.RESULTS_PATH.write_text(json.dumps(results, indent=1) + "\n")
    print(tables.render_tables(results))
    if not arguments.quick:
        tables.write_readme(results)
    return 0


def _measure(area: str, data: Path, quick: bool, pythons: list[str]) -> dict[str, Any]:
    options = Options()
    results: dict[str, Any] = {"machine": _machine(), "options": options.to_mapping()}
    has_data = data.is_dir()
    if not has_data:
        print(f"no outside text at {data}: natural text and segmentation are left out")
    if area in ("all", "speed"):
        rounds, size = (1, 1.0) if quick else (5, 10.0)
        texts = workloads.natural(data, size) if has_data else []
        small = [workloads.planted(1 if quick else 3)]
        small += [text for text in workloads.natural(data, 2.0) if text.name == "eebo"]
        results["datasketch"] = [
            speed.compare_with_datasketch(text, options, rounds=1 if quick else 3) for text in small
        ]
        results["stages"] = [
            speed.measure_stages(text, options, rounds)
            for text in [workloads.planted(size), *texts]
        ]
        results |= _compare(data, options, quick, pythons)
        if texts:
            whole = workloads.natural(data, 1.0 if quick else 1e6)
            results["corpus"] = speed.measure_corpus(whole, rounds=1 if quick else 3)
    if area in ("all", "quality"):
        results["recall"] = quality.measure_recall(options, pairs=2000 if quick else 40000)
        results["recall_promised"] = {
            str(row["score_from"]): candidate_probability(
                row["score_from"], options.bands, options.rows
            )
            for row in results["recall"]
        }
        if has_data:
            results["golden_rules"] = quality.measure_golden_rules(data)
            results["sentences"] = quality.measure_sentences(data)
    return results


def _compare(data: Path, options: Options, quick: bool, pythons: list[str]) -> dict[str, Any]:
    """Measure from file to file: beside peers, on ever larger files, with little memory."""
    rounds, size = (1, 1.0) if quick else (3, 4.0)
    parts = workloads.natural(data, 1e6)
    if parts:
        text = workloads.mix(parts, size)
        sizes = [10.0, 100.0] if quick else [10.0, 100.0, 1000.0]
    else:
        text = workloads.planted(size)
        parts, sizes = [workloads.planted(10)], [10.0]
    whole = sum(part.size_mb for part in parts)
    limits = [2.0 * whole, whole, whole / 10]
    return {
        "peers": comparison.compare_with_peers(text, options, rounds, pythons),
        "growth": comparison.measure_growth(parts, sorted(sizes), rounds),
        "memory": comparison.measure_memory(parts, limits, rounds),
    }


def _gate(write: bool) -> int:
    """Hold the run against the stored ratios; more than the room is a regression."""
    measured = speed.measure_gate(workloads.planted(4), Options())
    if write:
        rounded = {name: round(ratio, 3) for name, ratio in measured.items()}
        _GATE_PATH.write_text(json.dumps({"room": 1.5, "ratios": rounded}, indent=1) + "\n")
    gate = json.loads(_GATE_PATH.read_text())
    failed = False
    for name, ratio in measured.items():
        most = gate["ratios"][name] * gate["room"]
        failed |= ratio > most
        print(f"{name}: {ratio:.3f} of the reference work, at most {most:.3f}")
    if failed:
        print("slower than the gate allows", file=sys.stderr)
    return int(failed)


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tables.ROOT,
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "datasketch", "dedup")},
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    sys.exit(main())
