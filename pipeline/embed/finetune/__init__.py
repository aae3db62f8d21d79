"""A backbone made of another one: its last blocks trained on what the catalogue says of each training image.

- `examples`: which images, with which labels; no image that validation or test users show trains.
- `views`: the crops of an image that training sees.
- `halves`: a model cut in two: blocks that stay as they are, and blocks that are trained.
- `activations`: what the first half says of every view, on the disk: computed once, read in every epoch.
- `fit`: the second half trained, an epoch at a time, each kept until the next one is done.
- `run`: both, in a folder that an interrupted run finds again.
- `weights`: what the stage leaves, for stage one.
- `stage`: the whole, and what it leaves: weights that timm reads, and a record of what they were made from.
"""
