-- No filter drives: whatever the planner chooses.
true
