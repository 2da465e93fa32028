"""What the service's database role may do: add to the log, never rewrite it.

The tables belong to another role (deploy/databases.py), so the service cannot take these rights
for itself, nor disable the triggers that refuse changes.
"""

from services.audit.tables import INSERT_ONLY, metadata

# Rows that are meant to change: the head by compare and swap, cursors, when producers were heard,
# who asks the witnesses, and the outbox, whose rows the sequencer moves on.
_CHANGEABLE = {
    "head": "SELECT, UPDATE",
    "witnessing": "SELECT, UPDATE",
    # Sums over the log, which can be made again from it.
    "ledger_sum": "SELECT, INSERT, UPDATE, DELETE",
    "side": "SELECT, INSERT, UPDATE, DELETE",
    "telling": "SELECT, INSERT, UPDATE, DELETE",
    "told_total": "SELECT, INSERT, UPDATE, DELETE",
    "totals_overdue": "SELECT, INSERT, UPDATE, DELETE",
    "feed_cursor": "SELECT, INSERT, UPDATE",
    "heartbeat": "SELECT, INSERT, UPDATE",
    "feed_head": "SELECT, UPDATE",
    "outbox": "SELECT, INSERT, DELETE",
    "event": "SELECT, INSERT",
    "idempotency": "SELECT, INSERT, UPDATE, DELETE",
}


def statements(role: str) -> list[str]:
    """The statements, run by the owner after each migration; run again, they change nothing."""
    quoted = '"' + role.replace('"', '""') + '"'
    rights = {**dict.fromkeys(INSERT_ONLY, "SELECT, INSERT"), **_CHANGEABLE}
    if missing := metadata.tables.keys() - rights.keys():
        raise ValueError(f"no rights are stated for {sorted(missing)}")
    return [
        f"GRANT USAGE ON SCHEMA public TO {quoted}",
        *(f"REVOKE ALL ON TABLE {table} FROM {quoted}" for table in rights),
        *(f"GRANT {allowed} ON TABLE {table} TO {quoted}" for table, allowed in rights.items()),
    ]
