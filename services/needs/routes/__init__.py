"""HTTP only: path, body, who may call, errors, one call."""

from services.needs.routes import (
    applicants,
    commitments,
    disclosures,
    needs,
    objections,
    policies,
    public,
    vocabulary,
    work,
)

# Fixed paths before those with a parameter in the same place.
ROUTERS = (
    public.router,
    work.router,
    applicants.router,
    disclosures.router,
    needs.router,
    objections.router,
    commitments.router,
    policies.router,
    vocabulary.router,
)
