"""A run folder read again: continued, verified, trained again, used."""
