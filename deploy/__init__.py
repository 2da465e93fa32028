"""How the platform runs: its database server, its processes, its example, its import."""
