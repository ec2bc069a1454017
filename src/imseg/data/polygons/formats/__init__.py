"""The formats of annotations that are read, one module each."""
