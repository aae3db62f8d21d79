"""Purchases to image sets: which images stand for a user, which labels are touched, and which split they fall in.

Two tasks. `interests`: a user's first purchases are the set, and its labels are the union of those items' categories
(the published protocol). `next`: the last purchases before the held-out ones are the set, and the labels are the
categories of the held-out ones.
"""
