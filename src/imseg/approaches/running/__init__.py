"""An approach at work: stage after stage, generation after generation."""
