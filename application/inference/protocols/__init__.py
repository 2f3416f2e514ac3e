"""How predictions are asked for over HTTP."""
