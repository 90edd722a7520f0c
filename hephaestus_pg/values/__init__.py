"""The values: an instance, what it is made of, and the names of classes.

Plain data, checked where it is made. It knows no JSON, no column and no connection.
"""
