"""Predictions of trained networks, and scores of predictions."""
