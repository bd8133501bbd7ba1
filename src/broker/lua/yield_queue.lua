-- yield_queue: give a queue back, if it is that TaskQueue's.
-- KEYS[1] hash claim
-- ARGV[1] string cluster   ARGV[2] string uid
-- Returns: 1 (given back) or 0 (it was not theirs)
local had = redis.call('HMGET', KEYS[1], 'cluster', 'uid')
if had[1] ~= ARGV[1] or had[2] ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
