"""What the use cases need from the outside: a module for each port, with the records beside it."""
