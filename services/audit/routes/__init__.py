"""HTTP: `log` is what anybody may fetch (C2SP and our own proofs), `trail` what supervisors ask,
`proved` what they are answered with proofs, `totals` what the ledgers add up to. `stored`, a part
of `log`, is read by the verifier."""

from services.audit.routes.log import router as log_router
from services.audit.routes.proved import router as proved_router
from services.audit.routes.stored import router as stored_router
from services.audit.routes.totals import router as totals_router
from services.audit.routes.trail import router as trail_router

log_router.include_router(stored_router)

__all__ = ["log_router", "proved_router", "totals_router", "trail_router"]
