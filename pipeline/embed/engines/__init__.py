"""The runtimes that execute a backbone: uint8 pixels in, vectors out."""
