"""Units, and the families of them that convert by an integer factor into a base unit.

Units of different bases never convert: a box of masks says nothing about their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from shared.vocabulary.errors import QuantityNotPositive, UnitNotAllowed, UnknownUnit
from shared.vocabulary.item_classes import get as get_item_class
from shared.vocabulary.tables import rows


@dataclass(frozen=True, slots=True)
class Unit:
    """One of this unit is `factor` of `base`; a base unit has itself as base and factor 1."""

    code: str
    base: str
    factor: int
    name_zh: str
    name_en: str
    aliases: tuple[str, ...]


@cache
def units() -> Mapping[str, Unit]:
    """Return all units by code, in the order of the published list."""
    return {
        code: Unit(
            code, base, int(factor), name_zh, name_en, tuple(filter(None, aliases.split("|")))
        )
        for code, base, factor, name_zh, name_en, aliases in rows("units.tsv", 6)
    }


def get(code: str) -> Unit:
    """Raise UnknownUnit when there is no such code."""
    try:
        return units()[code]
    except KeyError:
        raise UnknownUnit(code) from None


def find(text: str) -> Unit | None:
    """Return the unit written as a code, a name or a usual counter (个, 公斤, kg), if any."""
    return _by_word().get(text.strip().casefold())


@cache
def _by_word() -> Mapping[str, Unit]:
    return {
        word.casefold(): unit
        for unit in units().values()
        for word in (unit.code, unit.name_zh, unit.name_en, *unit.aliases)
    }


def to_base(item_class: str, quantity: int, unit: str) -> tuple[int, str]:
    """Return (quantity in the item class's base unit, that base unit).

    Raises UnknownItemClass, UnknownUnit, UnitNotAllowed, QuantityNotPositive.
    """
    kept = get_item_class(item_class)
    measured = get(unit)
    if unit not in kept.units:
        raise UnitNotAllowed(item_class, unit, kept.units)
    if quantity < 1:
        raise QuantityNotPositive(quantity)
    return quantity * kept.own_factors.get(unit, measured.factor), kept.base_unit
