"""Pair potentials, energies and observables of the fluid: arrays in, arrays out."""
