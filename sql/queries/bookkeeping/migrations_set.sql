-- Sets each of the settings $1 to its value $2, for the session; not those of a newer server.
SELECT set_config(name, value, false)
FROM unnest($1::text[], $2::text[]) AS given (name, value)
WHERE name LIKE 'hephaestus_pg.%' OR current_setting(name, true) IS NOT NULL
