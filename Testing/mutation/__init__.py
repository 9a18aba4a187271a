"""Change the source one word at a time and see whether the tests notice."""
