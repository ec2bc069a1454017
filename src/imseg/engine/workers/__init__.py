"""Processes that train networks side by side."""
