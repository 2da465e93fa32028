"""One function per use case, inside the caller's transaction."""
