"""What the use cases need from the outside: a module for each port, with its protocols and records."""
