-- Ours. The columns by which runners own instances. The default is kept in the catalog: no row is
-- rewritten. A writer that does not know the columns leaves them alone.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS runner uuid,
    ADD COLUMN IF NOT EXISTS due_at timestamptz,
    ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0;

-- One row for each runner that lives. A runner whose row is gone is dead.
CREATE TABLE IF NOT EXISTS /* schema */workflow_runners (
    token uuid PRIMARY KEY,
    name text NOT NULL,
    workflows text[] NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Whoever writes an instance looks whether some process listens, and learns no names.
GRANT SELECT (workflows, expires_at) ON /* schema */workflow_runners TO PUBLIC;

-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
DECLARE
    broken regclass;
BEGIN
    FOR broken IN
        SELECT indexrelid
        FROM pg_index
        WHERE NOT indisvalid AND indexrelid IN (
            to_regclass('/* schema */workflow_instances_ready_index'),
            to_regclass('/* schema */workflow_instances_due_index'),
            to_regclass('/* schema */workflow_instances_due_at_index'),
            to_regclass('/* schema */workflow_instances_runner_index')
        )
    LOOP
        EXECUTE 'DROP INDEX ' || broken;
    END LOOP;
END
$$;

-- What can be claimed, the oldest first: a row is in at most one of these two, and one that is owned
-- or waits for an outside event in neither. They are two, since inserted_at is the clock of whoever
-- inserted, which may be ahead. Each put of what goes on writes the first: its key is short, and OR is
-- faster than ANY.
CREATE INDEX IF NOT EXISTS workflow_instances_ready_index
    ON /* schema */workflow_instances (workflow, inserted_at)
    WHERE runner IS NULL AND due_at IS NULL AND (status = 'pending' OR status = 'running');

CREATE INDEX IF NOT EXISTS workflow_instances_due_index
    ON /* schema */workflow_instances (workflow, due_at)
    WHERE runner IS NULL AND due_at IS NOT NULL AND status = ANY ('{pending,running,waiting}'::text[]);

-- For filters by due_at, whatever the status and the owner.
CREATE INDEX IF NOT EXISTS workflow_instances_due_at_index
    ON /* schema */workflow_instances (due_at) WHERE due_at IS NOT NULL;

-- For what a runner owns: to count it, to give it back, to take it over.
CREATE INDEX IF NOT EXISTS workflow_instances_runner_index
    ON /* schema */workflow_instances (runner) WHERE runner IS NOT NULL;
