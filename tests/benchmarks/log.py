"""The log: appending, taking in a producer's feed, verifying.

    python -m tests.benchmarks.log [--only appends] …

Every part runs on a PostgreSQL of its own that syncs to disk, and compares with a baseline of the
same run. Prints tables and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from tests.benchmarks import log_appends, log_ingestion
from tests.benchmarks.log_rows import durable_server

PARTS = {"appends": log_appends.measure, "ingestion": log_ingestion.measure}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.log", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for name in arguments.only:
        with durable_server() as (server, folder):
            figures |= asyncio.run(PARTS[name](server, folder))
    print(json.dumps({"log": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
