-- write_result: store what a handler returns, while the attempt is still its owner's.
-- KEYS[1] zset lease   KEYS[2] hash task   KEYS[3] hash holders
-- ARGV[1] string id   ARGV[2] string owner   ARGV[3] bytes result
-- Returns: 1 (stored) or 0 (no longer theirs)
local held, score = redis.call('HGET', KEYS[3], ARGV[1]), redis.call('ZSCORE', KEYS[1], ARGV[1])
if not owned(held, score, ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'result', ARGV[3])
return 1
