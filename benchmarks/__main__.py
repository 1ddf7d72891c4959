"""Run benchmarks: ``python -m benchmarks all --data ../shared/data``."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import gate, loaders, page, tables
from benchmarks.parts import AREAS, PARTS, SEEDS, Setting


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    arguments = _parse()
    if arguments.area == "gate":
        return gate.run_gate(write=arguments.write_gate)
    path = arguments.results / ("quick.json" if arguments.quick else "latest.json")
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if arguments.area in ("all", *AREAS):
        setting = Setting(
            arguments.data, arguments.quick, arguments.peer_python, arguments.soak_minutes
        )
        names = [
            name
            for name, part in PARTS.items()
            if arguments.area in ("all", part.area) and name in (arguments.only or PARTS)
        ]
        if not names:
            print(f"nothing of --only belongs to {arguments.area}", file=sys.stderr)
            return 2
        for missing in loaders.missing_sets(arguments.data):
            print(f"no {missing.name}: {missing.what}; {missing.source}", file=sys.stderr)
        for name in names:
            _measure(name, setting, results)
            arguments.results.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not results:
        print(f"there is no {path.name} yet: measure first", file=sys.stderr)
        return 2
    print(tables.render_tables(results))
    report = page.write_page(results, path.with_suffix(""))
    print(f"\n{report} shows it with plots", file=sys.stderr)
    if path == tables.RESULTS_PATH:
        tables.write_readme(results)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "area",
        choices=["all", *AREAS, "gate", "readme"],
        help="what to measure; `gate` holds speed and answers against the stored ones, "
        "`readme` only writes tables and page anew",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=tables.ROOT.parent / "shared" / "data",
        help="folder of outside sets; what is not there is left out and named",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=tables.RESULTS_PATH.parent,
        help="folder for results, plots and page; the README shows those of the default alone",
    )
    parser.add_argument("--quick", action="store_true", help="smaller texts, fewer rounds")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--peer-python",
        action="append",
        default=[],
        metavar="PATH",
        help="another interpreter to look for peers in, which needs orjson (repeatable)",
    )
    parser.add_argument(
        "--soak-minutes",
        type=float,
        default=2.0,
        metavar="N",
        help="how long `soak` takes; 30 say whether memory grows",
    )
    parser.add_argument("--write-gate", action="store_true", help="set the gate from this run")
    return parser.parse_args()


def _measure(name: str, setting: Setting, results: dict[str, Any]) -> None:
    """Measure a part, and put what was found among the results."""
    part = PARTS[name]
    absent = [needed for needed in part.needs if not (setting.data / needed).is_dir()]
    if absent:
        print(
            f"{name}: left out, for {setting.data} has no {' and '.join(absent)}", file=sys.stderr
        )
        return
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    results[name] = part.measure(setting)
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s", file=sys.stderr)
    results["machine"] = _machine()
    results["options"] = setting.options.to_mapping()
    results["seeds"] = SEEDS
    measured = results.setdefault("measured", {})
    measured[name] = {"commit": results["machine"]["commit"], "seconds": round(seconds, 1)}


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
