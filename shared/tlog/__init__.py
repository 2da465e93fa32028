"""The published formats of verifiable logs, as used by the log and by its witnesses; pure.

merkle.py        the history tree: RFC 6962, RFC 9162
notes.py         signed notes and their keys: C2SP signed-note, tlog-cosignature
checkpoints.py   checkpoints and receipts: C2SP tlog-checkpoint, tlog-proof
witnessing.py    what a log sends to a witness: C2SP tlog-witness
policies.py      whose signatures are enough: C2SP tlog-policy
"""
