"""The pools, each in a file of its name: a class of spec, and the module that it builds. A new file is a new pool."""
