"""The stage: raw data to the catalogue. One module a format; only here is known what raw data look like."""
