"""Readers and writers of trajectory data sets: LeRobot v2 and v3, BridgeData V2 and RLDS."""
