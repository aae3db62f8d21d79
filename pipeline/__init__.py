"""visagg: a person's interests from a set of product photos, by aggregation heads on cached embeddings."""
