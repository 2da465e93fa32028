"""The main job of `make run`: the example's two counties from entry to confirmed help.

Everything goes over HTTP, as distinct people with development tokens: clerks enter, village
committees, township and county officers verify, a coordinator runs and approves the round,
organizations accept, dispatch and deliver, other officers approve, households confirm. What is
done already is found by external keys and states, so a story that was killed is gone on with, and
one that has ended is only counted again.
"""

import time

from deploy.example import Example, generate
from deploy.platform import Platform, Summary
from deploy.story import allocations, counting, donors, matching, needs
from deploy.story.calling import Calls, Say, StoryFailed, both
from shared.db import now

__all__ = ["StoryFailed", "run"]


async def run(platform: Platform, say: Say, example: Example | None = None) -> Summary:
    """Tell the story on a running platform; raise StoryFailed when a service does not play along.

    say      told one line a step, for people
    example  another than the whole one
    """
    began = time.monotonic()
    example = example or generate(now().date())
    async with Calls(platform, say) as calls:
        await needs.activate_policy(calls)
        entered, _ = await both(needs.publish(calls, example), donors.load(calls, example))
        await matching.run_round(calls)
        await allocations.carry_through(calls, entered)
        return await counting.count(calls, began)
