-- $1 the setting's name, $2 its value.
SELECT set_config($1::text, $2::text, false)
