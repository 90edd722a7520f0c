"""Reading where to connect: DSNs, services, the PG variables, hosts and certificates.

It reads and checks by libpq's rules, and gives the driver a target. It opens no connection.
"""
