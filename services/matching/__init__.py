"""matching: which offer goes to which need, and the life of every allocation.

Owns the retrieval index, rounds with their frozen snapshots and proposals, and allocations from
`proposed` to `closed`. Never holds personal data and never decides what a need lacks or an offer
still has: those ledgers belong to needs and donors, and matching asks them by idempotent PUTs.
What it keeps of them are read models from their feeds, which may be rebuilt at any time.

Trusts the feeds of needs and donors for facts, audit for where an event stands in the log, and
the token issuer for who calls.
"""
