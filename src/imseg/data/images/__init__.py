"""Image files as pixels: decoded, scaled to bytes, written."""
