"""What a public notice may say of a need."""

from shared.vocabulary.codes import ApplicantKind, Category

_OF_HEALTH = frozenset({Category.MEDICAL_CARE, Category.PSYCHOLOGICAL_SUPPORT})


def says_what(applicant_kind: str, category: str) -> bool:
    """Whether a notice says what is needed.

    It names a household's village and surname, so it must not say of what somebody there is ill.
    """
    return applicant_kind != ApplicantKind.HOUSEHOLD or category not in _OF_HEALTH
