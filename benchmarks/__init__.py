"""Seeded scenarios with permanent names; every figure stands beside a peer or a limit of the same run."""
