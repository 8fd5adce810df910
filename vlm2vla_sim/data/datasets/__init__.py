"""Readers and writers of trajectory data sets: LeRobot v3, BridgeData V2 and RLDS."""
