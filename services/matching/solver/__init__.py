"""Which line gives how much to which need: exact, fast and certified; pure."""
