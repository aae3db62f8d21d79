"""What is measured: `selection`, `at_k` and `ranking` (pure functions), `bootstrap` (intervals, tests), `measure`."""
