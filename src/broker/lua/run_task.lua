-- run_task: let a task run now that waits for its time, failed for good, or is done.
-- KEYS[1] hash task   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] set groups
-- ARGV[1] string id   ARGV[2] int now, Unix ns   ARGV[3] string group-key prefix
-- Returns: the state it had; '' when there is no such task
local field = redis.call('HMGET', KEYS[1], 'state', 'group')
local state = field[1]
if not state then return '' end
local zsets = {scheduled = KEYS[3], retry = KEYS[4], archived = KEYS[5], completed = KEYS[6]}
if zsets[state] then
  if redis.call('ZREM', zsets[state], ARGV[1]) == 0 then return '' end
elseif state == 'aggregating' then
  local group = ARGV[3] .. field[2]
  if redis.call('ZREM', group, ARGV[1]) == 0 then return '' end
  if redis.call('EXISTS', group) == 0 then redis.call('SREM', KEYS[7], field[2]) end
else
  return state
end
redis.call('HSET', KEYS[1], 'state', 'pending', 'pending_since', ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[1])
return state
