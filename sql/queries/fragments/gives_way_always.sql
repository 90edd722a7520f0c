-- Citus takes no parameter in ON CONFLICT for several rows: the calls to which a finished row gives way have
-- a statement of their own.
true
