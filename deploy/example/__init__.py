"""What `make run` loads: two counties of Zhuzhou, made up from a seed, on real division codes.

Nobody in it exists: names are drawn from lists, ID numbers carry a sequence number that is not
handed out (900-999), phone numbers lie in a range of satellite telephones. The bodies are those of
the services' contracts; ids are not known before the services answer, so what refers to another
record does so by its external key.
"""

from dataclasses import dataclass
from datetime import date
from random import Random

from deploy.example.applicants import applicants
from deploy.example.needs import SeededNeed, needs
from deploy.example.offers import SeededOffer, offers
from deploy.example.organizations import organizations
from services.donors.contract import OrganizationCreate
from services.needs.contract import ApplicantCreate

SEED = 20_201_123
COUNTIES = ("430224000000", "430225000000")

__all__ = ["COUNTIES", "SEED", "Example", "SeededNeed", "SeededOffer", "generate"]


@dataclass(frozen=True)
class Example:
    applicants: tuple[ApplicantCreate, ...]
    needs: tuple[SeededNeed, ...]
    organizations: tuple[OrganizationCreate, ...]
    offers: tuple[SeededOffer, ...]


def generate(today: date, seed: int = SEED) -> Example:
    """Return the example; equal arguments give equal records, in the same order.

    today  offers are valid and needs are wanted relative to it
    """
    # One stream per kind of record: another household does not change the organizations.
    made = applicants(Random(f"{seed} applicants"), COUNTIES)  # noqa: S311 - seeded, not secret
    wanted = needs(Random(f"{seed} needs"), made, today)  # noqa: S311 - seeded, not secret
    givers = organizations(Random(f"{seed} organizations"), COUNTIES)  # noqa: S311 - as above
    given = offers(Random(f"{seed} offers"), wanted, givers, today)  # noqa: S311 - as above
    return Example(made, wanted, givers, given)
