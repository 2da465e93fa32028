"""`make recompute ROUND=… [NEED=…]`: a round's frozen data, downloaded and computed again.

From the running platform; when none runs, it is started for the time of the download. The status
is that of `services.matching.recompute`, which needs no platform and does the computing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import UUID

from deploy.api import Api, ApiProblem
from deploy.launch import StartErrors, running_platform
from deploy.state import ROOT


async def download(round_id: UUID, folder: Path) -> None:
    """Write `snapshot.json` and `round.json`, as an auditor may read them."""
    async with running_platform() as platform, Api(platform.matching_url) as api:
        token = platform.token("auditor", "recompute")
        of = await api.get(f"/v1/rounds/{round_id}", token)
        frozen = await api.octets(f"/v1/rounds/{round_id}/snapshot", token)
    (folder / "round.json").write_text(json.dumps(of))
    (folder / "snapshot.json").write_bytes(frozen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make recompute", description=__doc__)
    parser.add_argument("--round", type=UUID, required=True)
    parser.add_argument("--need", type=UUID)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            asyncio.run(download(arguments.round, folder))
        except (ApiProblem, *StartErrors) as error:
            print(f"make recompute: {error}", file=sys.stderr)
            return 2
        command = [sys.executable, "-m", "services.matching.recompute"]
        command += ["--snapshot", str(folder / "snapshot.json")]
        command += ["--round", str(folder / "round.json")]
        if arguments.need is not None:
            command += ["--need", str(arguments.need)]
        # A process of its own: with nothing of the platform in it but the frozen data.
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
