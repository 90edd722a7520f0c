-- $1 the setting's name, $2 its value, $3 true to let it end with the transaction.
SELECT set_config($1::text, $2::text, $3::boolean)
