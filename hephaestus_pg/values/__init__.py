"""Values that users hold: an instance and its parts, and the names of classes.

Plain data, checked when it is made. It knows no JSON, no column and no connection.
"""
