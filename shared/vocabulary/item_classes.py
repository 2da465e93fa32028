"""Second level below the categories: things of one class can replace each other.

The same item class and a convertible unit are hard conditions of a match, so a class is as wide
as replacement allows: a respirator is not a surgical mask, whatever both are called.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from shared.vocabulary.codes import Category
from shared.vocabulary.errors import UnknownItemClass
from shared.vocabulary.tables import rows


@dataclass(frozen=True, slots=True)
class ItemClass:
    """A thing that is needed and offered, and how it may be counted.

    units        those allowed, the base unit first
    own_factors  what one of a unit is in the base unit, where this class says so itself
                 (one bottle of disinfectant counts as one piece); else the unit's own factor
    keywords     what people write, in both tongues
    """

    code: str
    category: Category
    base_unit: str
    units: tuple[str, ...]
    own_factors: Mapping[str, int]
    name_zh: str
    name_en: str
    keywords: tuple[str, ...]


@cache
def item_classes() -> Mapping[str, ItemClass]:
    """Return all item classes by code, in the order of the published list."""
    classes = {}
    for code, category, allowed, name_zh, name_en, keywords in rows("item_classes.tsv", 6):
        # A unit is written `sets` or, with a factor of this class, `sets=1`.
        counted = [unit.partition("=") for unit in allowed.split("|")]
        classes[code] = ItemClass(
            code,
            Category(category),
            counted[0][0],
            tuple(unit for unit, _, _ in counted),
            {unit: int(factor) for unit, _, factor in counted if factor},
            name_zh,
            name_en,
            tuple(filter(None, keywords.split("|"))),
        )
    return classes


def get(code: str) -> ItemClass:
    """Raise UnknownItemClass when there is no such code."""
    try:
        return item_classes()[code]
    except KeyError:
        raise UnknownItemClass(code) from None


def of_category(category: str) -> tuple[ItemClass, ...]:
    return tuple(entry for entry in item_classes().values() if entry.category == category)


def classify(category: str, item: str) -> str | None:
    """Return the class of the category whose longest keyword occurs in the item's text.

    A tie is decided for the keyword that stands first in the text, then for the smaller code.
    None when no keyword occurs: the class has to be said by whoever enters the need.
    """
    text = _folded(item)
    found = [
        (-len(keyword), match.start(), code)
        for keyword, pattern, code in _keywords().get(category, ())
        if (match := pattern.search(text))
    ]
    return min(found)[2] if found else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@cache
def _keywords() -> Mapping[str, tuple[tuple[str, re.Pattern[str], str], ...]]:
    """Return category -> (folded keyword, its pattern, item class code); names are keywords too."""
    by_category: dict[str, list[tuple[str, re.Pattern[str], str]]] = {}
    for entry in item_classes().values():
        words = {_folded(word) for word in (*entry.keywords, entry.name_zh, entry.name_en)}
        by_category.setdefault(entry.category.value, []).extend(
            (word, _pattern(word), entry.code) for word in sorted(words)
        )
    return {category: tuple(words) for category, words in by_category.items()}


def _pattern(word: str) -> re.Pattern[str]:
    # Latin keywords are whole words, or `cap` would be found in `escape`; Chinese has no spaces.
    if word.isascii():
        return re.compile(rf"(?<![a-z0-9]){re.escape(word)}(?:s|es)?(?![a-z0-9])")
    return re.compile(re.escape(word))
