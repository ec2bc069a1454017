"""From what is asked for to a plan with every number, and what it would cost."""
