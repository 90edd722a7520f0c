/* include: add_local_tables */
