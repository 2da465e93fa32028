"""HTTP only: path, body, who may call, errors, one call."""
