"""Decoded images and targets as arrays on disk, from which every network reads."""
