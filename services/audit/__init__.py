"""The audit service: owns the verifiable log, its checkpoints, receipts and the trail.

It reads everybody's feed and is written by nobody directly. It never changes or removes an entry,
never signs two histories, and holds no personal values.
It trusts the producers for what their events say (the log proves that nothing was altered, added or
left out afterwards, not that it was true), and its own database for nothing: the signing key, the
leaf hashes and the last checkpoint lie outside PostgreSQL (docs/log.md).

Files beyond the usual ones:
tiles.py                        which hashes a tile holds (C2SP tlog-tiles); pure
hashes.py                       reads stored hashes for proofs and tiles
chain.py, sentences.py          what belongs to an allocation and what it lacks, in words; pure
exports.py                      the two forms of an export; pure
state.py                        what is kept outside PostgreSQL
intake.py                       group commit: one writer for all that is to be appended
heartbeat.py                    a producer whose feed is silent is an alarm
publisher.py                    checks the log against that, signs and publishes checkpoints
verifier.py                     the stand-alone verifier; shares no code with the service
grants.py                       what the service's database role may do
"""
