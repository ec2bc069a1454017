"""Pure tensor functions: no files, no settings, no randomness that is not passed in."""
