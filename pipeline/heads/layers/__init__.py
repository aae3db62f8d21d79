"""What pools and heads are made of: masked operations, gates, dropout, normalisation."""
