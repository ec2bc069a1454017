"""Files of a run: where they are, how they are sealed, and who may write them."""
