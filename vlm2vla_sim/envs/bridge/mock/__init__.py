"""A mock BridgeData robot server for tests, with the MuJoCo twin as its arm."""
