-- $1 the setting's name; one that nobody has set is empty.
SELECT coalesce(current_setting($1::text, true), '')
