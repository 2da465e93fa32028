"""What may be refused of a search; each `code` is stable."""

from shared.errors import Invalid


class QueryEmpty(Invalid):
    code = "query_empty"

    def __init__(self) -> None:
        super().__init__("Nothing in `q` is a word. Leave it out to list everything.")


class CategoryUnknown(Invalid):
    code = "category_unknown"

    def __init__(self) -> None:
        super().__init__("There is no such category; see /v1/vocabulary/categories.")


class ItemClassUnknown(Invalid):
    code = "item_class_unknown"

    def __init__(self) -> None:
        super().__init__("There is no such item class; see /v1/vocabulary/item_classes.")
