"""Runs workflows, kills their runners again and again, and shows that nothing is lost.

It is written against the public names, as a program of your own would be.
"""
