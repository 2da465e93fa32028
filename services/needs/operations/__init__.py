"""One function per use case, inside the caller's transaction.

Batches are the ordinary form: a single decision or commitment is a batch of one whose refusal is
raised. Rows are read and locked in one statement, in the order of their ids (so that two batches
cannot wait for each other), judged in memory by the pure rules, and written in one statement.
"""
