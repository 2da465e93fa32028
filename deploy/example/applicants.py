"""Applicants of the example: households in their villages, village collectives, institutions."""

from random import Random

from deploy.example import people
from services.needs.contract import ApplicantCreate, HouseholdRecord, PersonalData
from shared.vocabulary import divisions

HOUSEHOLDS = 2_000

# Main causes as they were spread among registered households: illness and lack of skills lead.
_CAUSES = {
    "illness": 30, "disability": 13, "schooling": 9, "disaster": 4, "lack_of_land": 3,
    "lack_of_water": 2, "lack_of_skills": 15, "lack_of_labour": 11, "lack_of_funds": 8,
    "poor_transport": 2, "low_motivation": 2, "other": 1,
}  # fmt: skip
_CLASSES = {"general": 60, "subsistence_allowance": 32, "extreme_hardship": 8}
# cause -> what such a household is most often deprived of.
_TYPICAL = {
    "illness": ("basic_medical_care", "labour"), "disability": ("labour", "basic_medical_care"),
    "schooling": ("compulsory_education", "clothing"), "disaster": ("safe_housing", "road"),
    "lack_of_land": ("food", "clothing"), "lack_of_water": ("drinking_water", "food"),
    "lack_of_skills": ("labour", "clothing"), "lack_of_labour": ("labour", "food"),
    "lack_of_funds": ("clothing", "safe_housing"), "poor_transport": ("road", "cooking_fuel"),
    "low_motivation": ("food", "cooking_fuel"), "other": ("clothing", "electricity"),
}  # fmt: skip
_ANY = ("food", "clothing", "safe_housing", "drinking_water", "cooking_fuel", "road", "electricity")
_TOWNSHIP_INSTITUTIONS = ("中心小学", "中学", "卫生院", "敬老院")
_COUNTY_INSTITUTIONS = (
    "职业中等专业学校", "特殊教育学校", "中医医院", "妇幼保健院", "社会福利中心", "应急物资储备站",
)  # fmt: skip


def applicants(chance: Random, counties: tuple[str, ...]) -> tuple[ApplicantCreate, ...]:
    villages = [
        code
        for code, division in divisions.divisions().items()
        if divisions.level(code) == "village"
        and any(divisions.covers(county, code) for county in counties)
        and division.name_zh.endswith(("村", "村委会"))
    ]
    return (
        *_households(chance, villages),
        *(_village(code) for code in villages),
        *(made for county in counties for made in _institutions(county)),
    )


def _households(chance: Random, villages: list[str]) -> list[ApplicantCreate]:
    # Some villages have five times as many registered households as others.
    weights = [chance.lognormvariate(0, 0.6) for _ in villages]
    homes = sorted(chance.choices(villages, weights=weights, k=HOUSEHOLDS))
    taken: set[str] = set()
    return [_household(chance, number, code, taken) for number, code in enumerate(homes, start=1)]


def _household(chance: Random, number: int, village: str, taken: set[str]) -> ApplicantCreate:
    female = chance.random() < 0.28
    while True:
        born = people.birth_date(chance)
        identity = people.id_number(chance, village, born, female=female)
        if identity not in taken:
            taken.add(identity)
            break
    record = _record(chance)
    causes = {record.main_cause, *record.other_causes}
    return ApplicantCreate(
        external_key=f"example-household-{number:04d}",
        kind="household",
        division_code=village,
        household=record,
        personal=PersonalData(
            name=people.surname(chance) + people.given_name(chance, born, female=female),
            id_number=identity,
            disability_card=(
                people.disability_card(chance, identity) if "disability" in causes else None
            ),
            phone=people.phone(number),
            bank_account=people.bank_account(chance) if chance.random() < 0.3 else None,
            address=f"第{chance.choice('一二三四五六七八九')}村民小组{chance.randint(1, 60)}号",
        ),
    )


def _record(chance: Random) -> HouseholdRecord:
    causes = chance.choices(list(_CAUSES), weights=list(_CAUSES.values()), k=3)
    others = [c for c in dict.fromkeys(causes[1:]) if c != causes[0]]
    others = others[: chance.choices((0, 1, 2), weights=(45, 40, 15))[0]]
    deprived = [d for d in _TYPICAL[causes[0]] if chance.random() < 0.75]
    deprived += [d for d in _ANY if chance.random() < 0.12]
    return HouseholdRecord(
        household_class=chance.choices(list(_CLASSES), weights=list(_CLASSES.values()))[0],
        main_cause=causes[0],
        other_causes=others,
        members=chance.choices(range(1, 9), weights=(12, 18, 22, 20, 13, 9, 4, 2))[0],
        deprivations=sorted(set(deprived)),
    )


def _village(code: str) -> ApplicantCreate:
    name = divisions.get(code).name_zh.removesuffix("村委会").removesuffix("村")
    return ApplicantCreate(
        external_key=f"example-village-{code}",
        kind="village",
        division_code=code,
        name=f"{name}村村民委员会",
    )


def _institutions(county: str) -> list[ApplicantCreate]:
    places: list[tuple[divisions.Division, tuple[str, ...]]] = [
        (divisions.get(county), _COUNTY_INSTITUTIONS)
    ]
    places += [(town, _TOWNSHIP_INSTITUTIONS) for town in divisions.children(county)]
    return [
        ApplicantCreate(
            external_key=f"example-institution-{place.code}-{number}",
            kind="institution",
            division_code=place.code,
            name=f"{place.name_zh.removesuffix('街道')}{what}",
        )
        for place, institutions in places
        for number, what in enumerate(institutions, start=1)
    ]
