"""A mock manipulator_gym server for tests, with the MuJoCo twin as its arm."""
