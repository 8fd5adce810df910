"""The operator's page: `app.py` answers its requests, `server.py` runs it, and `page/` is what the browser gets."""
