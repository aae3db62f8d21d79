"""The settings, typed: params.yaml holds them."""
