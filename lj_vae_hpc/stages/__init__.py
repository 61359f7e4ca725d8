"""One module per command: they wire the layers together and hold no science."""
