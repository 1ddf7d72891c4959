"""The HTTP service: the same engine behind an endpoint.

Only this package knows HTTP. It moves data and decides nothing about text:
what goes and what stays is the library's answer, and so the same as that of
the command.
"""
