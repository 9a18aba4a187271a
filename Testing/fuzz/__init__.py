"""Inputs that a fuzzer makes, for everything that is read from outside."""
