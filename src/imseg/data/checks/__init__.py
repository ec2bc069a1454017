"""What looks wrong with a data folder though every file of it can be read; one subject a module."""
