workflow_version = $5::text::integer
