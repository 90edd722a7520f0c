-- The rows that every given filter lets through; a filter that is NULL lets all through.
-- $1 id, $2 status, $3 several in order, $4 workflow, $5 workflow_version, $6 and $7 the bounds of the
-- workflow's prefix, $8 contained state, $9 to $12 the bounds of inserted_at and updated_at, $13 the
-- runner or '' for none, $14 the bound of due_at.
--
-- One of them drives: it is a plain condition too, so that even a generic plan, made before the
-- filters are known, reads by its index. A custom plan is free to choose a better one: there CASE
-- leaves only the filters that are given, each once. OR would too, but let a generic plan expect a
-- single row, for which it would sort rather than read a page in order.
/* include: driver */
AND CASE WHEN $1::text IS NULL THEN true ELSE id = $1::text END
AND CASE WHEN $2::text IS NULL THEN true ELSE status = $2::text END
AND CASE WHEN $3::text[] IS NULL THEN true ELSE status = ANY ($3::text[]) END
AND CASE WHEN $4::text IS NULL THEN true ELSE workflow = $4::text END
AND CASE WHEN $5::text IS NULL THEN true ELSE workflow_version = $5::text::integer END
AND CASE
    WHEN $6::text IS NULL THEN true
    ELSE workflow COLLATE "C" >= $6::text AND workflow COLLATE "C" < $7::text
END
AND /* include: contained */
AND CASE WHEN $9::text IS NULL THEN true ELSE inserted_at < $9::text::timestamp END
AND CASE WHEN $10::text IS NULL THEN true ELSE inserted_at > $10::text::timestamp END
AND CASE WHEN $11::text IS NULL THEN true ELSE updated_at < $11::text::timestamp END
AND CASE WHEN $12::text IS NULL THEN true ELSE updated_at > $12::text::timestamp END
AND CASE
    WHEN $13::text IS NULL THEN true
    WHEN $13::text = '' THEN runner IS NULL
    ELSE runner = $13::text::uuid
END
AND CASE WHEN $14::text IS NULL THEN true ELSE due_at < $14::text::timestamptz END
