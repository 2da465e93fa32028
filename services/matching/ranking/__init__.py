"""How well a line suits a need; pure."""
