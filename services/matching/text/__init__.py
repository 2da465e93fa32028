"""Texts of needs and offers: tokens, vectors, likeness; pure."""
