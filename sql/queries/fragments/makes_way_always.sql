-- Citus takes no parameter in ON CONFLICT: the calls for which a finished row makes way have a statement of
-- their own.
true
