"""Approaches against each other under the same conditions, and what came out of it."""
