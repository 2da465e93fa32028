"""The policies rounds are decided by; public, as everything that decides who gets help."""

from fastapi import APIRouter

from services.matching import contract, domain
from services.matching.policies import policies
from services.matching.policies.words import policy_read
from shared.callers import Public
from shared.errors import responses

router = APIRouter(prefix="/v1/policies", tags=["policies"])


@router.get("", response_model=contract.PolicyList)
async def list_policies(caller: Public) -> contract.PolicyList:
    """All policies, with their order of power in words."""
    return contract.PolicyList(data=[policy_read(policy) for policy in policies().values()])


@router.get("/{name}", response_model=contract.PolicyRead, responses=responses(domain.NoSuchPolicy))
async def read_policy(caller: Public, name: contract.PolicyName) -> contract.PolicyRead:
    """One policy: its weights, and what in it decides before what."""
    policy = policies().get(name)
    if policy is None:
        raise domain.NoSuchPolicy("There is no matching policy of this name.")
    return policy_read(policy)
