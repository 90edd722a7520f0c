"""A runner that is killed again and again, and shows that nothing is lost.

It uses the public names alone.
"""
