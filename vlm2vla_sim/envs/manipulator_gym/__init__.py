"""Backend "manipulator_gym": a WidowX 250 S on ROS 1 or ROS 2 behind a manipulator_gym server, and a mock server."""
