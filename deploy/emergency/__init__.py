"""`make emergency`: play the people of an emergency for what was imported, and check the log.

With development tokens it plays the coordinator, the officers, the organizations and the
institutions' representatives, each under a name of their own, so that every rule of who may do
what holds. Everything goes through the public API. Run again it goes on where it was.
"""
