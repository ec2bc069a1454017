"""One file per subject: parse, one call, show."""
