-- Whether a finished row gives way to the one that is inserted.
$6::text::boolean
