"""The edges: kernel, devices and the programs that set them up."""
