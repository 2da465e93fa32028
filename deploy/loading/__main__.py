"""`make load FROM=<folder>`: read needs and offers into the running platform.

The platform is started when it does not run, and stopped again. Exit status: 0 when every row is
created, already there or set aside for a reason of its own; 1 when the import stopped.
"""

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.launch import StartErrors, running_platform
from deploy.loading.importing import NothingToImport, Prepared, prepare, send
from deploy.loading.sending import Sender
from deploy.platform import Platform
from shared.vocabulary import divisions

# Who imports when no token is given: a clerk of the whole country on a development platform.
CLERK = "import-clerk"
TOKEN_VARIABLE = "DUIJIE_TOKEN"  # noqa: S105 - the name of a variable, not a token


def main() -> int:
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder with needs.* and offers.*")
    parser.add_argument("--from", dest="source", type=Path, help="the same, as make passes it")
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"act as the holder of this token (or of ${TOKEN_VARIABLE}) instead of a clerk",
    )
    arguments = parser.parse_args()
    folder = arguments.source or arguments.folder
    if folder is None:
        parser.error("name the folder: make load FROM=<folder>")
    try:
        token = arguments.token_file.read_text().strip() if arguments.token_file else None
        return asyncio.run(load(folder, token or os.environ.get(TOKEN_VARIABLE)))
    except (NothingToImport, OSError, *StartErrors) as error:
        print(f"make load: {error}", file=sys.stderr)
        return 1


def clerk_token(platform: Platform) -> str:
    return platform.token("entry_clerk", CLERK, division=divisions.ROOT)


async def load(folder: Path, token: str | None) -> int:
    """Import the folder and return the exit status; raise NothingToImport or a StartError."""
    prepared = prepare(folder, datetime.now(UTC).date())
    _say(f"{len(prepared.rows)} rows in {', '.join(prepared.files)}")
    async with running_platform(_say) as platform:
        who = "the holder of the given token" if token else f"{CLERK} (a development token)"
        _say(f"Importing as {who}: creates and submits, verifies nothing.")
        bearer = token or clerk_token(platform)
        async with (
            Sender(platform.needs_url, bearer) as to_needs,
            Sender(platform.donors_url, bearer) as to_donors,
        ):
            stopped = await send(prepared, to_needs, to_donors)
        _report(prepared, platform.state / "loading")
    if stopped is not None:
        print(f"make load: stopped: {stopped}", file=sys.stderr)
        return 1
    return 0


def _report(prepared: Prepared, folder: Path) -> None:
    account = prepared.account()
    account.tell(_say)
    as_json, as_csv = account.write(folder, datetime.now(UTC))
    _say(f"The account of every row: {as_csv} and {as_json}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
