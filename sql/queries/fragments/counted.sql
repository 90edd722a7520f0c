-- The column that count_by.sql counts by; each variant is another.
status
