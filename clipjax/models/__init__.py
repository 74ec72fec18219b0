"""The architectures: configuration, Flax modules, functional application and the native weights file."""
