"""The command: see the package."""

import argparse
import asyncio
import sys
from dataclasses import replace

from deploy.api import ApiProblem
from deploy.emergency.plan import HUBEI_2020, Emergency
from deploy.emergency.play import NotDone, Play, Say
from deploy.launch import StartErrors, running_platform
from deploy.proofs import ProofFailed


async def play(emergency: Emergency, say: Say) -> int:
    async with running_platform(say) as platform:
        say(
            f"An emergency is played, {emergency.policy}: what follows is done by nobody real, "
            "with development tokens. 应急演练：以下操作均由开发令牌扮演，并非真实人员。"
        )
        return await Play(platform, emergency, say).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make emergency", description=__doc__)
    parser.add_argument(
        "--days", type=int, default=HUBEI_2020.days, choices=range(1, 91), metavar="1-90",
        help=f"days of a daily rate that are offered ({HUBEI_2020.days})",
    )  # fmt: skip
    days = parser.parse_args().days
    emergency = replace(HUBEI_2020, days=days)
    try:
        asyncio.run(play(emergency, lambda line: print(line, flush=True)))
    except (NotDone, ApiProblem, ProofFailed, *StartErrors) as error:
        print(f"make emergency: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
