-- $1 the setting's name.
SELECT current_setting($1::text)
