"""One file per command or pair of commands: parse, one call, show."""
