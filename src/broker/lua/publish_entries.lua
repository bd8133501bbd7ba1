-- publish_entries: write a part of the list of schedules that asynq's tools read; the last part puts it in place.
-- KEYS[1] string turn: who mirrors   KEYS[2] list draft   KEYS[3] list entries, as published
-- ARGV[1] string who   ARGV[2] int life, s   ARGV[3] int entries of the parts before   ARGV[4] 1 for the last part
-- ARGV[5..] bytes records of entries, at least one
-- Returns: 1, or 0 when it is another's turn or those parts are not there: nothing changed
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] ~= '0' and redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end
if ARGV[3] == '0' then redis.call('DEL', KEYS[2]) end
redis.call('RPUSH', KEYS[2], unpack(ARGV, 5, #ARGV))
redis.call('EXPIRE', KEYS[2], ARGV[2])
if ARGV[4] == '1' then redis.call('RENAME', KEYS[2], KEYS[3]) end
return 1
