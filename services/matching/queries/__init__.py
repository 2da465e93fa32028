"""Read-only."""
