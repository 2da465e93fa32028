"""What a request costs, as a multiple of the cheapest request in the same run.

Against the running platform with whatever it holds, or one started for the purpose. Numbers of two
machines do not compare; ratios of two commits on one machine do.
"""

import asyncio
import json
import statistics
import sys
import time

import httpx

from deploy.launch import StartErrors, running_platform
from deploy.platform import Platform

ROUNDS = 7
REQUESTS = 60
WARM_UP = 10


async def main() -> int:
    try:
        async with running_platform(print) as platform:
            await measure(platform)
    except StartErrors as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    return 0


async def measure(platform: Platform) -> None:
    """Print a table, then one JSON object: name -> ratio to the same service's /healthz."""
    token = {"Authorization": f"Bearer {platform.token('service', 'bench')}"}
    ratios: dict[str, float] = {}
    print(f"{'request':<44}{'µs':>9}{'× /healthz':>12}")
    for service, url in platform.urls.items():
        paths = ["/healthz", "/events?after=0&limit=200"]
        paths += {"needs": ["/v1/needs?limit=50"], "donors": ["/v1/offers?limit=50"]}.get(
            service, []
        )
        async with httpx.AsyncClient(base_url=url, headers=token, timeout=30) as client:
            cost = await interleaved(client, paths)
        for path in paths:
            ratio = cost[path] / cost["/healthz"]
            ratios[f"{service} {path}"] = round(ratio, 2)
            print(f"{service + ' ' + path:<44}{cost[path] * 1e6:>9.0f}{ratio:>12.1f}")
    print(json.dumps(ratios))


async def interleaved(client: httpx.AsyncClient, paths: list[str]) -> dict[str, float]:
    """Median seconds a request, over rounds that alternate between the paths.

    Alternating spreads whatever else the machine does over all paths alike.
    """
    seconds: dict[str, list[float]] = {path: [] for path in paths}
    for turn in range(ROUNDS + 1):
        for path in paths:
            count = REQUESTS if turn else WARM_UP
            began = time.perf_counter()
            for _ in range(count):
                (await client.get(path)).raise_for_status()
            if turn:
                seconds[path].append((time.perf_counter() - began) / count)
    return {path: statistics.median(each) for path, each in seconds.items()}


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
