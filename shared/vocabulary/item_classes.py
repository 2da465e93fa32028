"""Second level below the categories: things of one class can replace each other.

The same item class and a convertible unit are hard conditions of a match, so a class is as wide
as replacement allows: a respirator is not a surgical mask, whatever both are called.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from shared.vocabulary.codes import Category
from shared.vocabulary.errors import UnknownItemClass
from shared.vocabulary.tables import rows


@dataclass(frozen=True, slots=True)
class ItemClass:
    """`units` are those allowed, base unit first; `keywords` are what people write, both tongues."""

    code: str
    category: Category
    base_unit: str
    units: tuple[str, ...]
    name_zh: str
    name_en: str
    keywords: tuple[str, ...]


@cache
def item_classes() -> Mapping[str, ItemClass]:
    """Return all item classes by code, in the order of the published list."""
    return {
        code: ItemClass(
            code,
            Category(category),
            units.split("|")[0],
            tuple(units.split("|")),
            name_zh,
            name_en,
            tuple(keywords.split("|")),
        )
        for code, category, units, name_zh, name_en, keywords in rows("item_classes.tsv", 6)
    }


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
        (-len(keyword), position, code)
        for keyword, code in _keywords().get(category, ())
        if (position := text.find(keyword)) >= 0
    ]
    return min(found)[2] if found else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@cache
def _keywords() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Return category -> (folded keyword, item class code); names are keywords too."""
    by_category: dict[str, list[tuple[str, str]]] = {}
    for entry in item_classes().values():
        words = {_folded(word) for word in (*entry.keywords, entry.name_zh, entry.name_en)}
        by_category.setdefault(entry.category.value, []).extend(
            (word, entry.code) for word in sorted(words)
        )
    return {category: tuple(words) for category, words in by_category.items()}
