"""The command: see the package."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from deploy.api import Api, ApiProblem
from deploy.launch import StartErrors, running_platform
from deploy.report import markdown, picture

Json = dict[str, Any]


class NoRound(Exception):
    """There is no round to report on."""


async def read(round_id: UUID | None, division: str | None, every: bool) -> markdown.Report:
    """round_id   None = the newest computed round of the division that met a need, or of any"""
    async with running_platform() as platform, Api(platform.matching_url) as api:
        token = platform.token("auditor", "report")
        if round_id is None:
            round_id = await _newest(api, token, division)
        of = await api.get(f"/v1/rounds/{round_id}", token)
        overview = await api.get(f"/v1/rounds/{round_id}/overview", token)
        proposals: list[Json] = []
        outcomes: list[Json] = []
        if every:
            proposals = [p async for p in api.pages(f"/v1/rounds/{round_id}/proposals", token)]
            outcomes = [o async for o in api.pages(f"/v1/rounds/{round_id}/outcomes", token)]
        return markdown.Report(of, overview, proposals, outcomes)


async def _newest(api: Api, token: str, division: str | None) -> UUID:
    async for row in api.pages("/v1/rounds", token):
        met = row["totals"] and row["totals"]["needs_met"]
        if row["kind"] == "round" and met and division in {None, row["division_code"]}:
            return UUID(row["id"])
    raise NoRound("No round that met a need was computed yet.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make report", description=__doc__)
    parser.add_argument("--round", type=UUID)
    parser.add_argument("--division")
    parser.add_argument("--every", action="store_true", help="list every need with its line")
    parser.add_argument("--into", type=Path, help="a Markdown file; pictures go beside it")
    arguments = parser.parse_args()
    try:
        report = asyncio.run(read(arguments.round, arguments.division, arguments.every))
    except (ApiProblem, NoRound, *StartErrors) as error:
        print(f"make report: {error}", file=sys.stderr)
        return 1
    levels = {level["level"]: level for level in report.overview["fairness"]}
    finest = levels.get("township") or levels.get("county")
    if arguments.into is None:
        print(markdown.written(report, None))
        return 0
    into: Path = arguments.into
    drawn = into.with_suffix(".svg")
    if finest is not None:
        drawn.write_text(picture.rates(finest), encoding="utf-8")
    shown = None if finest is None else drawn.name
    into.write_text(markdown.written(report, shown), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
