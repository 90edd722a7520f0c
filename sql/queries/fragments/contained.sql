-- The variants are plain conditions, and not here and in driver.sql: comparing a state with those
-- that the planner knows takes it as long as all the rest.
CASE WHEN $8::text IS NULL THEN true ELSE state @> $8::text::jsonb END
