"""The training of one network: what it learns from, what it minimizes, and how."""
