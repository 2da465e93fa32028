"""How well a line suits a need: features, scorecards, and how decisions teach them; pure.

features    what is looked at, in thousandths
scorecard   points for it; every fit is the sum of its features' points
memory      what similar needs accepted before
learning    a new card from stored decisions, with figures against the card before
"""
