-- In one look a statement.
, (
    /* include: who_listens */
) AS listened
