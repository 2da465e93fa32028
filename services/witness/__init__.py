"""The witness: owns the last checkpoint it has cosigned of each log it knows, and its own key.

It speaks C2SP tlog-witness, to any log and not to ours alone, and is meant to be run by another
authority: it shares no database, key, token or feed with the other services and imports none.
It never cosigns a checkpoint that does not go on from the last one, whatever happens to its
database: a copy of each last checkpoint lies beside its keys, outside PostgreSQL (docs/witness.md).
It trusts a log for nothing but its signature, and callers for nothing at all.

Files beyond the usual ones:
state.py     what is kept outside PostgreSQL: keys, and the copies
keeper.py    opens that state at the start, and says whether the witness may cosign
"""
