"""Recording: runs a policy and stores its episodes as a LeRobot data set."""
