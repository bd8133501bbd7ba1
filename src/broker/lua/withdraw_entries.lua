-- withdraw_entries: take the list of schedules away that asynq's tools read, and give the turn back if asked to.
-- KEYS[1] string turn: who mirrors   KEYS[2] list draft   KEYS[3] list entries, as published
-- ARGV[1] string who   ARGV[2] 1 to give the turn back
-- Returns: 1, or 0 when it is another's turn: nothing changed
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2], KEYS[3])
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
return 1
