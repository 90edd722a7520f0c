-- Those that end_dead.sql has ended: Citus locks all runners until a statement that deletes some is done, and
-- this one may wait for an instance.
SELECT unnest(string_to_array($4::text, ','))::uuid AS token
