"""The configuration: a file per section, and loading."""
