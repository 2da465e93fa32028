"""Settings and wiring of the matching service."""

import logging
from pathlib import Path

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict

from services.matching import following
from services.matching.keys import SlipKey
from services.matching.operations import totals
from services.matching.operations.allocations import fall_due
from services.matching.policies import policies
from services.matching.recall import Keeper
from services.matching.receipts import Fetch
from services.matching.routes.allocations import router as allocations_router
from services.matching.routes.matches import router as matches_router
from services.matching.routes.policies import router as policies_router
from services.matching.routes.rankings import router as rankings_router
from services.matching.routes.results import router as results_router
from services.matching.routes.rounds import router as rounds_router
from services.matching.routes.search import router as search_router
from services.matching.text.configured import configure
from services.matching.trainer import train_rankings
from services.matching.worker import Drive, compute_rounds
from shared.client import Client
from shared.events import Consumer, feed_router
from shared.service import Clock, ServiceSettings, Task, create_service
from shared.totals import totals_router

DESCRIPTION = (
    "Which offer goes to which need: matches with reasons, rounds over frozen snapshots, and the"
    " life of every allocation until the household has confirmed."
)


class Settings(ServiceSettings):
    """Environment variables MATCHING_…"""

    model_config = SettingsConfigDict(env_prefix="MATCHING_")

    needs_url: str
    donors_url: str
    audit_url: str
    # Where the public reaches the log, for the addresses of receipts; audit_url if not given.
    log_url: str | None = None
    due_every_s: float = 1.0
    # The file of the live index, which spares encoding every text at a start.
    index_save_every_s: float = 600.0
    # A file of trained word vectors (word2vec's text format); without it the default encoder alone.
    encoder_path: Path | None = None


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()
    # A policy that is not whole must stop the start, not the first round.
    policies()
    configure(settings.encoder_path)
    needs, donors, audit = (
        Client(url, settings.service_token_file)
        for url in (settings.needs_url, settings.donors_url, settings.audit_url)
    )
    keeper = Keeper(settings.state_dir, settings.index_save_every_s)
    retrieval = keeper.retrieval
    app = create_service(
        "matching",
        settings,
        [
            matches_router,
            search_router,
            policies_router,
            rounds_router,
            results_router,
            rankings_router,
            allocations_router,
            totals_router(totals.TELLER),
            feed_router("matching"),
        ],
        description=DESCRIPTION,
        consumers=[
            Consumer(
                source="needs",
                client=needs,
                apply=following.apply_needs,
                on_applied=retrieval.mark_stale,
            ),
            Consumer(
                source="donors",
                client=donors,
                apply=following.apply_donors,
                on_applied=retrieval.mark_stale,
            ),
            Consumer(source="audit", client=audit, apply=following.apply_audit, path="/appended"),
            Consumer(source="audit_events", client=audit, apply=following.apply_alarms),
        ],
        clocks=[Clock("due", settings.due_every_s, fall_due)],
        tasks=[
            Task("index", keeper.run, lambda: keeper.not_ready),
            Task("rounds", compute_rounds),
            Task("rankings", train_rankings),
            Task("driver", Drive(donors, needs).run),
            Task("receipts", Fetch(audit).run),
            Task("totals", totals.TELLER.run),
        ],
        clients=[needs, donors, audit],
    )
    # It tells at every start which processor features it looked for.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    app.state.retrieval = retrieval
    app.state.slip_key = SlipKey(settings.state_dir)
    app.state.log_url = (settings.log_url or settings.audit_url).rstrip("/")
    return app
