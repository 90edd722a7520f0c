"""Runs workflows, kills their runners again and again, and shows that nothing is lost.

It stores through the public names alone, as a program of your own would.
"""
