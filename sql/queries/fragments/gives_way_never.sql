-- As gives_way_always.sql, for the other calls. The row that is in the way is locked all the same.
false
