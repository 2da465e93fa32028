"""What is refused by the vocabulary; services decide what that means for their callers."""


class VocabularyError(ValueError):
    """Base of all refusals: the value is not of the published vocabulary."""


class UnknownUnit(VocabularyError):
    def __init__(self, unit: str) -> None:
        super().__init__(f"There is no unit {unit[:40]!r}.")


class UnknownItemClass(VocabularyError):
    def __init__(self, item_class: str) -> None:
        super().__init__(f"There is no item class {item_class[:40]!r}.")


class UnitNotAllowed(VocabularyError):
    def __init__(self, item_class: str, unit: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"{item_class} is not counted in {unit}; use one of: {', '.join(allowed)}."
        )


class QuantityNotPositive(VocabularyError):
    def __init__(self, quantity: int) -> None:
        super().__init__(f"A quantity must be a positive whole number, not {quantity}.")


class UnknownDivision(VocabularyError):
    def __init__(self, code: str) -> None:
        super().__init__(f"There is no division {code[:20]!r}.")
