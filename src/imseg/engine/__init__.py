"""Training, prediction, evaluation: the only room that moves anything to a device."""
