"""A data folder: which files belong to what, and what they turn out to be."""
