"""Makes BentoML and uvicorn serve the template's own application."""
