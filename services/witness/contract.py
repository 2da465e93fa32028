"""The contract is C2SP tlog-witness, read and written by `shared.tlog.witnessing`; no events."""

from shared.tlog.witnessing import SIZE_MEDIA_TYPE, AddCheckpoint

__all__ = ["SIZE_MEDIA_TYPE", "AddCheckpoint"]
