-- No filter drives, or the contained state does: see contained.sql.
true
