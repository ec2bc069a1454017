"""What there is to choose from: approaches as compositions, on one page."""
