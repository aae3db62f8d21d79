"""The tables: which rows and columns there are, and what stands under them. Computes no metric."""
