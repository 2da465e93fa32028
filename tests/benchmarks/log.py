"""The log: appending, taking in a producer's feed, verifying, receipts.

    python -m tests.benchmarks.log [--only appends ingestion …] [--entries N]

Every part runs on a PostgreSQL of its own that syncs to disk, and compares with a baseline of the
same run where there is one. Prints tables and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from deploy.postgres import Postgres
from tests.benchmarks import log_appends, log_ingestion, log_receipts, log_verifying
from tests.benchmarks.log_rows import durable_server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.log", description=__doc__)
    parser.add_argument("--entries", type=int, default=log_verifying.ENTRIES)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[Postgres, Path], Coroutine[Any, Any, dict[str, float]]]] = {
        "appends": log_appends.measure,
        "ingestion": log_ingestion.measure,
        "receipts": log_receipts.measure,
        "verifying": partial(log_verifying.measure, count=arguments.entries),
    }
    figures: dict[str, float] = {}
    for name in arguments.only or parts:
        with durable_server() as (server, folder):
            figures |= uvloop.run(parts[name](server, folder))  # the loop the services run on
    print(json.dumps({"log": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
