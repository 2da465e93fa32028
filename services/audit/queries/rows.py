"""What several of these read of an entry."""

COLUMNS = "index, key AS event_id, producer, seq, type, subject, division, actor, actor_role, time"
