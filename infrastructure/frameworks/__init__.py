"""How estimators of each library are trained and exported."""
