"""A repaired copy of a data folder; what was there is never changed."""
