"""Backend "bridge": a real arm behind the BridgeData robot server, and a mock server with the same protocol."""
