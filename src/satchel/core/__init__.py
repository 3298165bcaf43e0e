"""Pure values and decisions. Nothing here reads a clock, a disk, a network or a random source."""
