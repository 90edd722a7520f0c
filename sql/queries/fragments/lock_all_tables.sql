-- Before anything is moved, so that whoever is in the way costs a try, and no work.
LOCK TABLE
    /* schema */workflow_instances,
    /* schema */workflow_runners,
    /* schema */hephaestus_pg_migrations
IN ACCESS EXCLUSIVE MODE;
