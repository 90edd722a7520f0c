-- The values of the settings $1, in their order; one that nobody has set is empty.
SELECT coalesce(current_setting(name, true), '') AS value
FROM unnest($1::text[]) WITH ORDINALITY AS given (name, place)
ORDER BY place
