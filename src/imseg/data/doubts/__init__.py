"""What makes one doubt masks whose files are faultless: where they lie, and what is too small."""
