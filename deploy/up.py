"""`make run`: the platform from nothing to its main job, with a word on what happened."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from deploy import examples, story
from deploy.launch import Launched, StartErrors, launched
from deploy.platform import Summary
from deploy.state import State

T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the main job")
    arguments = parser.parse_args()
    try:
        return asyncio.run(_run(once=arguments.once))
    except (*StartErrors, story.StoryFailed) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 130


async def _run(*, once: bool) -> int:
    """Return the exit status: 0 when the job is done or the person stopped us."""
    stop = _Stop()
    state, began = State(), time.monotonic()
    summary: Summary | None = None
    try:
        async with launched(state, say) as running:
            stop.then_kill = running.kill
            summary = await _while_alive(running, story.run(running.platform, say))
            say("")
            examples.tell(running.platform, summary, state, say)
            if not once:
                say(
                    f"Everything was ready after {time.monotonic() - began:.0f} s. Ctrl-C stops it."
                )
                print(json.dumps(summary.counted()), flush=True)
                await running.watch()
    except asyncio.CancelledError:
        if not stop.asked:
            raise
        print("Stopped; nothing runs any more.", file=sys.stderr)
        return 0
    # After the stop, so that nothing follows this line.
    if summary is not None:
        print(json.dumps(summary.counted()), flush=True)
    return 0


async def _while_alive(running: Launched, job: Coroutine[Any, Any, T]) -> T:
    """Do the job; raise ProgramDied, and end the job, as soon as a process has ended."""
    doing, watching = asyncio.create_task(job), asyncio.create_task(running.watch())
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        return await doing
    finally:
        doing.cancel()
        watching.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


class _Stop:
    """The first Ctrl-C (or SIGTERM, or a closed terminal) stops in order, the second at once."""

    def __init__(self) -> None:
        self.asked = False
        self.then_kill: Callable[[], None] = lambda: None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are called from a coroutine
        self._task: asyncio.Task[Any] = task
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(sent, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked:
            self.then_kill()
            return
        self.asked = True
        self._task.cancel()
        with contextlib.suppress(OSError):  # the terminal may be what went away
            print("\nStopping (once more: at once) …", file=sys.stderr)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
