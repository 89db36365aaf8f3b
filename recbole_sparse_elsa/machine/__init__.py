"""What a run runs on: the device, the versions, and the memory."""
