-- take_waiter: become or stay one of the few owners that wait blocked for work on a queue.
-- KEYS[1] zset waiters, scored by when they lapse, Unix ms
-- ARGV[1] string owner   ARGV[2] int turn, ms   ARGV[3] int waiters at most
-- Returns: 1 (theirs) or 0 (all places are taken)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local free = redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[3])
if not free and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
