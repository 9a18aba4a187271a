"""Inputs as they come in practice, made by code, through the product's own reading and writing.

``python -m torture`` (with ``Testing`` on the path; ``make torture``) runs them all and prints how
many came out right, were refused with a clear message, or came out wrong.
"""
