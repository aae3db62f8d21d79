"""Saved results to tables, plots and a page. Computes no metric, and needs no torch or weights."""
