"""The public Amazon review data of 2014, 2018 and 2023: lists of items and of reviews, and photos that one has."""
