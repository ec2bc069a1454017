"""Devices, processors and memory: what there is, and what a training takes of it."""
