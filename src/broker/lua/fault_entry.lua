-- fault_entry: set an entry aside that cannot be fired, until it is written anew.
-- KEYS[1] hash entry   KEYS[2] zset due
-- ARGV[1] string uid   ARGV[2] string revision it must have   ARGV[3] string why
-- Returns: 1 (set aside) or 0 (it has changed meanwhile)
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'fault', ARGV[3])
redis.call('ZADD', KEYS[2], '+inf', ARGV[1])
return 1
