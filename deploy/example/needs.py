"""Needs of the example, written from the templates in need_templates.tsv.

A title is Chinese with the English name of its item class; a text says what for, never who.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from random import Random
from uuid import UUID

from services.needs.contract import ApplicantCreate, ApplicantKind, NeedCreate, Urgency
from shared.vocabulary import divisions, item_classes

# Shares of the three kinds of applicants, together 3,000.
_COUNTS: dict[ApplicantKind, int] = {"household": 2_420, "village": 380, "institution": 200}
LIFE_THREATENING = 24
_LIFE_THREATENING_CLASSES = frozenset(
    {"tents", "temporary_shelter", "emergency_food", "treatment_costs", "mask_respirator",
     "protective_clothing", "relief_quilts"}
)  # fmt: skip
# Asked for by households with somebody in school or small, so of two members at least.
_OF_FAMILIES = frozenset(
    {"school_fees", "scholarships", "school_supplies", "computers", "tutoring_hours",
     "childcare_hours", "group_activity_seats"}
)  # fmt: skip
# The services give the ids; see create_body.
_NO_ID = UUID(int=0)


@dataclass(frozen=True)
class SeededNeed:
    """`applicant_key` names the applicant; `division_code` is its division."""

    applicant_key: str
    division_code: str
    body: NeedCreate

    def create_body(self, applicant_id: UUID) -> NeedCreate:
        return self.body.model_copy(update={"applicant_id": applicant_id})


@dataclass(frozen=True)
class Template:
    item_class: str
    applicants: frozenset[ApplicantKind]
    weight: int
    urgent_percent: int
    item: str
    specification: str | None
    unit: str
    quantity_min: int
    quantity_max: int
    quantity_step: int
    causes: frozenset[str]
    title: str
    text: str
    variants: tuple[str, ...]


@cache
def templates() -> tuple[Template, ...]:
    kinds: dict[str, ApplicantKind] = {"h": "household", "v": "village", "i": "institution"}
    lines = files("deploy.example").joinpath("need_templates.tsv").read_text("utf-8").splitlines()
    found = []
    for line in lines[1:]:
        cells = line.split("\t")
        found.append(
            Template(
                item_class=cells[0],
                applicants=frozenset(kinds[letter] for letter in cells[1]),
                weight=int(cells[2]),
                urgent_percent=int(cells[3]),
                item=cells[4],
                specification=cells[5] or None,
                unit=cells[6],
                quantity_min=int(cells[7]),
                quantity_max=int(cells[8]),
                quantity_step=int(cells[9]),
                causes=frozenset(filter(None, cells[10].split(","))),
                title=cells[11],
                text=cells[12],
                variants=tuple(cells[13].split(";")),
            )
        )
    return tuple(found)


def needs(
    chance: Random, applicants: Sequence[ApplicantCreate], today: date
) -> tuple[SeededNeed, ...]:
    """Return 3,000 needs, sorted by applicant; no applicant asks for one item class twice."""
    drawn: list[tuple[ApplicantCreate, Template]] = []
    for kind, count in _COUNTS.items():
        drawn += _draw(chance, [a for a in applicants if a.kind == kind], count)
    grave = [i for i, (_, t) in enumerate(drawn) if t.item_class in _LIFE_THREATENING_CLASSES]
    first = set(chance.sample(grave, LIFE_THREATENING))
    made = []
    for number, (applicant, template) in enumerate(drawn):
        urgency: Urgency = "normal"
        if number in first:
            urgency = "life_threatening"
        elif chance.randrange(100) < template.urgent_percent:
            urgency = "urgent"
        body = _body(chance, f"example-need-{number + 1:04d}", applicant, template, urgency, today)
        made.append(SeededNeed(applicant.external_key or "", applicant.division_code, body))
    return tuple(made)


def _draw(
    chance: Random, applicants: list[ApplicantCreate], count: int
) -> list[tuple[ApplicantCreate, Template]]:
    """Everybody once while they last, then some again; templates by weight and cause."""
    order = chance.sample(applicants, min(count, len(applicants)))
    order += chance.choices(applicants, k=count - len(order))
    position = {a.external_key: i for i, a in enumerate(applicants)}
    order.sort(key=lambda a: position[a.external_key])
    asked: set[tuple[str | None, str]] = set()
    drawn = []
    for applicant in order:
        open_to = [
            t
            for t in templates()
            if applicant.kind in t.applicants
            and (applicant.external_key, t.item_class) not in asked
            and not (_lives_alone(applicant) and t.item_class in _OF_FAMILIES)
        ]
        weights = [t.weight * (4 if t.causes & _causes(applicant) else 1) for t in open_to]
        template = chance.choices(open_to, weights=weights)[0]
        asked.add((applicant.external_key, template.item_class))
        drawn.append((applicant, template))
    return drawn


def _lives_alone(applicant: ApplicantCreate) -> bool:
    return applicant.household is not None and applicant.household.members == 1


def _causes(applicant: ApplicantCreate) -> set[str]:
    record = applicant.household
    return {record.main_cause, *record.other_causes} if record else set()


def _body(
    chance: Random,
    key: str,
    applicant: ApplicantCreate,
    template: Template,
    urgency: Urgency,
    today: date,
) -> NeedCreate:
    item_class = item_classes.get(template.item_class)
    words = {
        "variant": chance.choice(template.variants),
        "item": template.item,
        "village": divisions.names(applicant.division_code)[0].removesuffix("委会"),
    }
    members = applicant.household.members if applicant.household else None
    days = {"life_threatening": 3, "urgent": 30, "normal": 120}[urgency]
    return NeedCreate(
        external_key=key,
        applicant_id=_NO_ID,
        category=item_class.category.value,
        item_class=template.item_class,
        title=f"{template.title.format(**words)} · {item_class.name_en}",
        text=template.text.format(**words),
        item=template.item,
        specification=template.specification,
        quantity=_quantity(chance, template, applicant.kind),
        unit=template.unit,
        headcount=members or chance.choice((30, 60, 120, 200, 350)),
        cause=applicant.household.main_cause if applicant.household else None,
        urgency=urgency,
        needed_by=today + timedelta(days=chance.randint(max(1, days // 2), days)),
        submit=True,
    )


def _quantity(chance: Random, template: Template, kind: ApplicantKind) -> int:
    """Small quantities are the usual ones; households stay in the lower part of a shared range."""
    steps = (template.quantity_max - template.quantity_min) // template.quantity_step
    shared = len(template.applicants) > 1
    low, high = 0.0, 1.0
    if shared and kind == "household":
        high = 0.12
    elif shared:
        low = 0.12
    share = low + (high - low) * chance.betavariate(1.3, 3)
    return template.quantity_min + round(steps * share) * template.quantity_step
