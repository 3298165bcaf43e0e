"""Real programs at work in synced folders, for as long as they are asked to: `make soak`."""
