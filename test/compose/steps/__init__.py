"""The steps of the test, each with its checks."""
