"""The engine trains, predicts and evaluates; it is the only room that moves anything to a device."""
