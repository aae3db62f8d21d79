"""Stage two: heads fitted on cached vectors. `tuning` is the protocol, the same for every head."""
