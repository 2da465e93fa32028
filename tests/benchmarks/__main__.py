"""`make bench [ONLY="solver round"]`: every benchmark, each in a process of its own, one by one.

Each prints its own table and ends with one line of JSON: ratios against a baseline of the same run.
The last line here holds all of them. The status is 1 when a benchmark failed, never for a figure.
"""

import json
import subprocess
import sys
import time
from typing import Any

BENCHMARKS: dict[str, list[str]] = {
    "index": [],
    "solver": ["--needs", "1000000", "--lines", "100000"],
    "fairness": [],
    "round": ["100000", "10000"],
    "http": [],
    "log": [],
    "requests": [],
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"There are {', '.join(BENCHMARKS)}; not {', '.join(sorted(unknown))}.")
        return 2
    figures: dict[str, Any] = {}
    failed = []
    for place, name in enumerate(names or list(BENCHMARKS), 1):
        print(f"\n=== {name} ({place} of {len(names or BENCHMARKS)})", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *BENCHMARKS[name]]
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        print(f"({time.monotonic() - began:.0f} s)")
        if running.returncode:
            failed.append(name)
        else:
            figures[name] = json.loads(last)
    print(json.dumps(figures))
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
