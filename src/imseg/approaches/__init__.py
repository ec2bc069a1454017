"""Approaches are values made of stages; a variant is a difference."""
