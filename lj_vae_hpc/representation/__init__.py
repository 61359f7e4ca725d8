"""From positions to what the network sees."""
