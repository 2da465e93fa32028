"""Organizations of the example: 150 of all kinds, most with a valid Unified Social Credit Code."""

from random import Random

from services.donors.contract import OrganizationCreate
from shared.vocabulary import divisions

COUNT = 150
WITHOUT_USCC = 8

# kind -> (share, first two characters of its USCC: registering office and kind, name patterns).
# SPEC GB 32100-2015: 51 social group, 52 private non-enterprise, 53 foundation, 91 enterprise,
# 93 farmers' cooperative, 12 public institution.
_KINDS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "foundation": (18, "53", ("{place}{word}公益基金会", "{place}{word}教育基金会")),
    "ngo": (22, "51", ("{place}{word}扶贫协会", "{place}{word}爱心协会", "{place}{word}环保协会")),
    "chamber_of_commerce": (14, "51", ("{place}{word}商会", "{place}{word}行业商会")),
    "volunteer_federation": (14, "51", ("{place}{word}志愿者联合会",)),
    "social_work_centre": (22, "52", ("{place}{word}社会工作服务中心",
                                      "{place}{word}助老服务中心")),
    "enterprise": (34, "91", ("{place}{word}食品有限公司", "{place}{word}服饰有限公司",
                              "{place}{word}农业科技有限公司", "{place}{word}医疗用品有限公司",
                              "{place}{word}建材有限公司", "{place}{word}物流有限公司")),
    "cooperative": (16, "93", ("{place}{word}种植专业合作社", "{place}{word}养殖专业合作社")),
    "public_body": (10, "12", ("{place}{word}技能培训中心", "{place}{word}农技推广站")),
}  # fmt: skip
_WORDS = (
    "同心 和风 青禾 云岭 洣水 向阳 春晖 厚德 众益 启明 晨光 山水 绿源 金穗 博爱 惠民 新田 远山 "
    "暖阳 嘉禾 百川 长青 兴农 星火 微光 乐善 桥梁 万家 蒲公英 映山红"
).split()
# Where they are registered: the two counties, their city, the province, other provinces.
_OUTSIDE = (
    ("430200000000", "株洲市", 34), ("430000000000", "湖南省", 22), ("440300000000", "深圳市", 6),
    ("310000000000", "上海市", 5), ("440100000000", "广州市", 4),
)  # fmt: skip
# SPEC GB 32100-2015: characters and weights (3 to the power of the place, modulo 31).
_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
# SPEC GB 11714: characters and weights of the organization code inside it.
_CODE_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CODE_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def organizations(chance: Random, counties: tuple[str, ...]) -> tuple[OrganizationCreate, ...]:
    kinds = [kind for kind, (share, _, _) in _KINDS.items() for _ in range(share)]
    without = set(chance.sample(range(COUNT), WITHOUT_USCC))
    names: set[str] = set()
    made = []
    for number, kind in enumerate(kinds):
        division, place = _seat(chance, kind, counties)
        while (name := _name(chance, kind, place)) in names:
            pass
        names.add(name)
        made.append(
            OrganizationCreate(
                external_key=f"example-organization-{number + 1:03d}",
                name=name,
                kind=kind,
                uscc=None if number in without else uscc(_KINDS[kind][1], division, number + 1),
                division_code=division,
            )
        )
    return tuple(made)


def _seat(chance: Random, kind: str, counties: tuple[str, ...]) -> tuple[str, str]:
    # Cooperatives and social workers are local; foundations rarely are.
    if chance.random() < {"cooperative": 1.0, "foundation": 0.2}.get(kind, 0.5):
        county = chance.choice(counties)
        return county, divisions.get(county).name_zh
    division, place, _ = chance.choices(_OUTSIDE, weights=[w for _, _, w in _OUTSIDE])[0]
    return division, place


def _name(chance: Random, kind: str, place: str) -> str:
    return chance.choice(_KINDS[kind][2]).format(place=place, word=chance.choice(_WORDS))


def uscc(kind: str, division_code: str, number: int) -> str:
    """A well-formed code; organization codes from MA9 upwards stand for nobody here."""
    code = f"MA9{number:05d}"
    total = sum(
        weight * _CODE_CHARACTERS.index(char)
        for weight, char in zip(_CODE_WEIGHTS, code, strict=True)
    )
    code += {10: "X", 11: "0"}.get(rest := 11 - total % 11, str(rest))
    body = f"{kind}{division_code[:6]}{code}"
    total = sum(pow(3, place, 31) * _CHARACTERS.index(char) for place, char in enumerate(body))
    return body + _CHARACTERS[-total % 31]
