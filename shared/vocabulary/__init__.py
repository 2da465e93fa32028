"""The published vocabulary: codes with their Chinese and English names, and pure functions on them.

The one domain thing in `shared`. Data lies beside the modules as tab-separated files and is read
at first use; nothing here reads the environment, a clock or the network.

codes         first-level lists (categories, causes, urgencies, kinds, states, roles, levels)
units         units, and which of them convert into which by an integer factor
item_classes  second level below the categories: what can replace what
divisions     administrative divisions of China and the covering relation
movements     how a quantity held by an allocation moves through a ledger
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from shared.vocabulary import codes, divisions, item_classes, movements, units

__all__ = ["codes", "divisions", "document", "item_classes", "movements", "units"]


@cache
def document() -> Mapping[str, Any]:
    """Return all code lists but the divisions, ready for JSON: list name -> entries.

    Every entry has code, name_zh and name_en; units also base and factor, item classes also
    category, base_unit, units and keywords.
    """
    lists: dict[str, Any] = {
        name: [
            {"code": term.value, "name_zh": term.name_zh, "name_en": term.name_en} for term in terms
        ]
        for name, terms in codes.LISTS.items()
    }
    lists["units"] = [
        {
            "code": unit.code,
            "name_zh": unit.name_zh,
            "name_en": unit.name_en,
            "base": unit.base,
            "factor": unit.factor,
        }
        for unit in units.units().values()
    ]
    lists["item_classes"] = [
        {
            "code": item_class.code,
            "name_zh": item_class.name_zh,
            "name_en": item_class.name_en,
            "category": item_class.category.value,
            "base_unit": item_class.base_unit,
            "units": list(item_class.units),
            "keywords": list(item_class.keywords),
        }
        for item_class in item_classes.item_classes().values()
    ]
    return lists
