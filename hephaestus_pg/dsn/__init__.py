"""Where to connect: DSNs, services, the PG variables, hosts and certificates.

It reads and checks, and opens nothing. Rules are libpq's.
"""
