"""What is measured: `selection` and `ranking` (pure functions), `bootstrap` (intervals, tests), `measure`."""
