-- The moment that a failed attempt has set is over, lest a later write bring it back. That of one that
-- waits is its owner's own: without it a claim that is given back would never be made again.
CASE WHEN attempts > 0 AND status IN ('pending', 'running') THEN NULL ELSE due_at END
