"""Mask files: what their values mean, and how they are numbered inside."""
