"""Photos of a person to interests, by a trained head or by an exported folder."""
