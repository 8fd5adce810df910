"""A mock BridgeData robot server for tests, with the MuJoCo twin as its arm, and a proxy that injects faults."""
