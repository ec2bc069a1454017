"""Data brings images: files and arrays are found, checked, decoded and stored."""
