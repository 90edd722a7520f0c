-- Citus takes no sub-SELECT in RETURNING: whoever waits there looks by himself.
NULL::text
