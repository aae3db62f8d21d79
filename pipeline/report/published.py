"""Metric values that others published, for the rows of the tables that are marked so.

Source: K. Demochkin and A. Savchenko, "Visual product recommendation using neural aggregation network and context
gating", J. Phys.: Conf. Ser. 1368, 2019, and the talk on it. Amazon Fashion, a fine-tuned MobileNet v1, 75 categories.
A category counts as recommended only if it is among the k best and its score is at least 0.5. Not comparable with
values measured on other data.
"""

SOURCE = "Demochkin and Savchenko 2019: Amazon Fashion, fine-tuned MobileNet v1, 75 categories"

# k: head: (recall, precision)
QUALITY: dict[int, dict[str, tuple[float, float]]] = {
    5: {
        "average": (0.59, 0.80),
        "attention_cg_fc": (0.78, 0.93),
        "squeeze_fc": (0.77, 0.88),
        "squeeze_expand_fc": (0.77, 0.90),
    },
    10: {
        "average": (0.66, 0.73),
        "attention_cg_fc": (0.93, 0.90),
        "squeeze_fc": (0.91, 0.83),
        "squeeze_expand_fc": (0.90, 0.86),
    },
    15: {
        "average": (0.68, 0.71),
        "attention_cg_fc": (0.93, 0.90),
        "squeeze_fc": (0.94, 0.82),
        "squeeze_expand_fc": (0.93, 0.84),
    },
    20: {
        "average": (0.69, 0.70),
        "attention_cg_fc": (0.94, 0.89),
        "squeeze_fc": (0.95, 0.81),
        "squeeze_expand_fc": (0.94, 0.84),
    },
}

# head: F1@10, in the text of the talk, which does not say by which definition; not of the same experiment as QUALITY
HEADLINE: dict[str, float] = {"average": 0.29, "squeeze_fc": 0.58}

# head: (parameters, megabytes), of heads for vectors of 1024 numbers and 1000 labels
SIZE: dict[str, tuple[int, float]] = {
    "average": (1_025_000, 4.0),
    "attention2_fc": (1_570_024, 6.0),
    "squeeze_fc": (781_800, 3.0),
    "squeeze_expand_fc": (1_109_736, 4.5),
}
