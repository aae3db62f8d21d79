"""The catalogue: items, purchases, images and rejects, and the sets made of them: the files of data/ that stages share.

| file | content |
|---|---|
| catalogue/items.parquet | item_id (unique, sorted); image (row in images.h5, or null); categories; title |
| catalogue/purchases.parquet | user_id, item_id, time, source_split; by user, then time |
| catalogue/images.h5 | distinct images, encoded: bytes [total], offset [n + 1], digest [n, 16] |
| catalogue/rejects.parquet | stage, item_id, reason: everything the source held that cannot be used |
| catalogue/rejects.csv | the same rows for people: stage, file, line, id, field, value, reason; 10,000 a reason |
| catalogue/counts.parquet | stage, reason, count: how many were refused or left out, those without a row included |
| catalogue/catalogue.json | digests of these tables and of the images: what was read from one source together |
| sets.parquet | set_id; images (rows in images.h5); labels (indices into labels.json); split |
| labels.json | label names in index order, and digests of the sets and of the images that their rows point into |
"""
