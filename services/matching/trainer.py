"""Background work of matching: training rankings off the event loop.

Like rounds: a row says what is to be done, by one process at a time (`alone`), and is done again
from the start after a crash.
"""

import asyncio
import logging

from fastapi import FastAPI
from sqlalchemy import update

from services.matching.alone import repeat_alone
from services.matching.domain.rankings import RankingState
from services.matching.operations import rankings
from services.matching.operations.rankings import Lesson
from services.matching.ranking import learning
from services.matching.ranking.evaluation import Figures
from services.matching.ranking.scorecard import Scorecard
from services.matching.tables import Ranking
from services.matching.text.configured import likeness_version
from shared.db import Sessions, now

log = logging.getLogger(__name__)

POLL_S = 1.0
PROGRESS_S = 0.5
_LOCK = "matching rankings"


async def train_rankings(app: FastAPI) -> None:
    """Train what waits to be trained, for ever."""
    await repeat_alone(app, _LOCK, lambda: train_one(app.state.sessions), POLL_S)


async def train_one(sessions: Sessions) -> int:
    """Train the ranking that waits, if one does; return how many did."""
    async with sessions.begin() as session:
        lesson = await rankings.begin_training(session)
    if lesson is None:
        return 0
    try:
        card, figures = await _train(sessions, lesson)
    except learning.TooFewDecisions as refused:
        log.warning("nothing to learn from", extra={"ranking": lesson.name})
        async with sessions.begin() as session:
            await rankings.give_up(session, lesson.name, f"decisions_too_few: {refused}")
        return 1
    async with sessions.begin() as session:
        await rankings.keep(session, lesson, card, figures, now())
    return 1


async def _train(sessions: Sessions, lesson: Lesson) -> tuple[Scorecard, Figures]:
    reached = [0]
    title = learning.Title(lesson.name, likeness_version(), lesson.sha256, lesson.seed)

    def learn() -> tuple[Scorecard, Figures]:
        return learning.train(
            lesson.decisions,
            lesson.previous,
            title,
            lambda permille: reached.__setitem__(0, permille),
        )

    work = asyncio.create_task(asyncio.to_thread(learn))
    told = 0
    while not (await asyncio.wait({work}, timeout=PROGRESS_S))[0]:
        if reached[0] > told:
            told = reached[0]
            async with sessions.begin() as session:
                await session.execute(
                    update(Ranking)
                    .where(Ranking.name == lesson.name, Ranking.state == RankingState.TRAINING)
                    .values(progress_permille=told)
                )
    return work.result()
