"""Random streams, the Metropolis kernel and the protocols that drive it."""
