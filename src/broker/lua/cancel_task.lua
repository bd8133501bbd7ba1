-- cancel_task: ask for the attempt that runs a task to be stopped, by a mark that lasts as long as the attempt.
-- KEYS[1] hash task   KEYS[2] zset lease   KEYS[3] hash holders
-- ARGV[1] string id   ARGV[2] string what then: stop (for good) or retry
-- Returns: array: state of the task or '' when there is none, its owner where that is a worker of ours, else ''
local state = redis.call('HGET', KEYS[1], 'state') or ''
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
local owner = holder(redis.call('HGET', KEYS[3], ARGV[1]), lease)
if state ~= 'active' or not owner then return {state, ''} end
redis.call('HSET', KEYS[1], 'cronmill_cancel', lease .. '|' .. ARGV[2])
return {state, owner}
