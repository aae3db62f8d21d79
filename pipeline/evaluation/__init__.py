"""Stages that read the test sets: evaluate, popularity, ablation, cost; and their results on the disk."""
