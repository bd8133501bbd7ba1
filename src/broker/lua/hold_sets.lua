-- hold_sets: set anew when aggregation sets go back to their groups.
-- KEYS[1] zset aggregation_sets
-- ARGV[1] int from now, s   ARGV[2..] string keys of sets
-- Returns: array, per set 1 (done) or 0 (it is gone: it went back, or was finished)
local at = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[1])
local verdicts = {}
for i = 2, #ARGV do
  local is_there = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if is_there then redis.call('ZADD', KEYS[1], 'XX', at, ARGV[i]) end
  verdicts[#verdicts + 1] = is_there and 1 or 0
end
return verdicts
