"""Names of places, items and states in totals, in both languages; a code nobody knows has none."""

from shared.vocabulary import divisions, item_classes
from shared.vocabulary.errors import UnknownItemClass

Names = tuple[str, str] | tuple[None, None]
_STATES = {
    "proposed": ("拟分配", "proposed"),
    "reserved": ("已预留", "reserved"),
    "accepted": ("已接受", "accepted"),
    "approved": ("已批准", "approved"),
    "dispatched": ("在途", "in transit"),
    "delivered": ("已送达", "delivered"),
    "confirmed": ("已确认", "confirmed"),
    "closed": ("已办结", "closed"),
    "declined": ("已谢绝", "declined"),
    "expired": ("已过期", "expired"),
    "cancelled": ("已取消", "cancelled"),
    "released": ("已释放", "released"),
    "returned": ("已退回", "returned"),
    "written_off": ("已核销", "written off"),
}


def state_names(state: str) -> Names:
    return _STATES.get(state, (None, None))


def division_names(code: str) -> Names:
    return divisions.names(code) if code and divisions.known(code) else (None, None)


def item_class_names(code: str) -> Names:
    try:
        found = item_classes.get(code)
    except UnknownItemClass:
        return None, None
    return found.name_zh, found.name_en
