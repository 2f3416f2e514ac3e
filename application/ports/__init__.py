"""What the use cases need from outside: one module per port, with the records that it uses."""
