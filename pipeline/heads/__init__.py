"""Set classifiers: heads that turn the vectors of a set of images into a score for each label.

Shapes everywhere: b sets, s images a set at most, d numbers a vector, c labels.

A head is described by a spec (`spec.py`) and built from it (`classifier.py`): standardisation, a pool, a gate, a
classifier. `registry.py` finds the pools, `presets.py` names heads, `declare.py` tells DVC what they are built of.

A new head is one file in `pools/`, with its spec and its module, and its name in one line of params.yaml.
"""
