"""Turns the records of a run into medians, tables in Markdown and plots.

It measures nothing.
"""
