-- The rows are locked on the workers, which a setting of the coordinator's session does not reach.
true
