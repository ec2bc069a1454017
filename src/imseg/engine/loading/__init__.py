"""From stored arrays to batches on the device."""
