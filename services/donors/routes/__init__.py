"""HTTP only: path, body, who may call, errors, one call."""

from services.donors.routes.ledger import router as ledger_router
from services.donors.routes.offers import router as offers_router
from services.donors.routes.organizations import router as organizations_router

routers = (organizations_router, offers_router, ledger_router)
