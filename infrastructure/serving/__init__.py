"""How BentoML and uvicorn are made to serve an application of our own."""
