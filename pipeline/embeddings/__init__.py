"""The embedding store: one vector an image, in image order, in one HDF5 file laid out in full when it is made.

| dataset | type | content |
|---|---|---|
| embedding | float16 [n, d] | the vectors |
| status | uint8 [n] | 0 pending, 1 done, 2 unreadable |
| digest | uint8 [n, 16] | digest of the image that the row belongs to |
| crc | uint32 [n] | CRC-32 of the row's digest, then its vector or UNREADABLE_MARK: damage and swapped rows show |

Attribute `fingerprint` (JSON) says what made the vectors. The first 512 bytes, which HDF5 leaves alone, hold a seal:
the checksum of all that is no row's, so that HDF5 is given no structure that is damaged. Every dataset is contiguous
and allocated at creation, so a batch is written in place, at offsets that HDF5 gave once: vectors and checksums, then a
sync, then their status. A row that says done is therefore done whenever the process or the machine dies, nothing in the
file's structure ever changes, and an interrupted run ends in the same bytes as an uninterrupted one. There is a
checksum a row rather than a block, so that rows can be finished in any order without touching what protects their
neighbours.
"""
