"""Parts of mock robot servers for tests: the MuJoCo twin as an arm, and a proxy that injects faults."""
