-- read_cancels: which of the attempts an owner runs are to be stopped. Nothing is changed.
-- KEYS[1] zset lease   KEYS[2] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3..] string ids
-- Returns: array, per id '' (no), stop or retry
local reply, holders = {}, redis.call('HMGET', KEYS[2], unpack(ARGV, 3))
for i = 3, #ARGV do
  local task, score = ARGV[1] .. ARGV[i], redis.call('ZSCORE', KEYS[1], ARGV[i])
  reply[#reply + 1] = owned(holders[i - 2], score, ARGV[2]) and cancelled(task, score) or ''
end
return reply
