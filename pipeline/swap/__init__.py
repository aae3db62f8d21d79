"""Another backbone under trained heads: adapters between two stores, and what the heads keep.

What sees which images:

- adapters are fitted on images of training users that are done in both stores, in the order of their digests, so that
  the first 64 of them are the same whoever asks;
- every tenth of these is held out while strengths and ranks are chosen, then joins the rest;
- the kind of adapter is the one with which the old heads do best on validation users;
- test users are read for the metric values alone. How close mapped vectors come is measured on images that only they
  show, or, where there are hardly any, on the held-out tenth, with the map that was fitted without it.

Heads are read, never written.
"""
