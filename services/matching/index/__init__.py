"""Exact retrieval under filters: offer lines for needs, needs for offers, free text over both.

What is stored where: `lists` FAISS inverted lists by (item class, division), `facts` arrays of
what the hard conditions look at, `offers` and `needs` the two directions, `words` the unfiltered
index of free-text search, `stored` the file that spares encoding everything again after a start.
"""

from services.matching.index.codes import (
    LEVELS,
    ancestors_of,
    code_range,
    prefix_of,
    step_below,
    widest,
)
from services.matching.index.facts import BEGINNING, END, Asks, Offered, microseconds
from services.matching.index.lists import LISTS_AT_START, TIE_SPAN, Candidates
from services.matching.index.needs import NeedEntry, NeedIndex, Wanted
from services.matching.index.offers import Hit, LineEntry, OfferIndex, id_words
from services.matching.index.words import Document, WordIndex

# Changes whenever what is stored of the index could mean something else.
INDEX_VERSION = "ivf-flat-class-division-v2"

__all__ = [
    "BEGINNING",
    "END",
    "INDEX_VERSION",
    "LEVELS",
    "LISTS_AT_START",
    "TIE_SPAN",
    "Asks",
    "Candidates",
    "Document",
    "Hit",
    "LineEntry",
    "NeedEntry",
    "NeedIndex",
    "OfferIndex",
    "Offered",
    "Wanted",
    "WordIndex",
    "ancestors_of",
    "code_range",
    "id_words",
    "microseconds",
    "prefix_of",
    "step_below",
    "widest",
]
