"""The command line: one small file a command; parse, one call, show."""
