-- The moment of a write, in whole seconds of UTC as the columns hold it: truncated, as the original
-- does. A cast to timestamp(0) would round into the future.
date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC')
