"""Read-only. Raw SQL: no entity is built from an entry."""
