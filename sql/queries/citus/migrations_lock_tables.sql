-- In one order with batched writers, and before anything is moved: whoever is in the way costs a try.
LOCK TABLE
    /* schema */workflow_instances,
    /* schema */workflow_runners,
    /* schema */hephaestus_pg_migrations
IN ACCESS EXCLUSIVE MODE;
