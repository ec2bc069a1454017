"""Masks of pictures that a run predicts, the tables beside them, and where all of it goes."""
