-- cancel_task: ask for the attempt that runs a task to be stopped, by a mark that lasts as long as the attempt.
-- KEYS[1] hash task   KEYS[2] zset lease
-- ARGV[1] string id   ARGV[2] string what then: stop (for good) or retry
-- Returns: array: state of the task or '' when there is none, its owner where that is a worker of ours, else ''
local field = redis.call('HMGET', KEYS[1], 'state', 'cronmill_lease')
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
local owner = holder(field[2], lease)
if field[1] ~= 'active' or not owner then return {field[1] or '', ''} end
redis.call('HSET', KEYS[1], 'cronmill_cancel', lease .. '|' .. ARGV[2])
return {field[1], owner}
