"""What else is asked of a trained model, one file each. A file that is put here is found by itself."""
