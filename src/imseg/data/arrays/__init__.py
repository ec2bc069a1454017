"""Data sets from arrays, tensors and torch Datasets."""
