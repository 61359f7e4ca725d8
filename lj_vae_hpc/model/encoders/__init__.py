"""The encoders, a file each. The file's name is the name in the configuration, and its class is `Network`."""
