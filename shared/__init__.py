"""Plumbing of all services: database, events, errors, callers, HTTP conventions, vocabulary.

Holds only what at least two services use and what can be understood without knowing a service.
Reads no environment at import; imports no service.
"""
