"""Sessions with a person at the robot, and their live view in the browser."""
