-- run_task: let a task run now that waits for its time, failed for good, or is done.
-- KEYS[1] hash task   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] set groups   KEYS[8] zset locks
-- ARGV[1] string id   ARGV[2] int now, Unix ns   ARGV[3] string group-key prefix   ARGV[4] string task-key prefix
-- ARGV[5] int life of a lock that another program took, s
-- Returns: array: the state it had, '' when there is no such task; the id of another task that holds the lock of
--   this one, which was given up or is done (nothing changed), or ''
local id, field = ARGV[1], redis.call('HMGET', KEYS[1], 'state', 'group', 'unique_key', 'cronmill_lock')
local state = field[1]
if not state then return {'', ''} end
local at = {
  scheduled = KEYS[3], retry = KEYS[4], archived = KEYS[5], completed = KEYS[6], groups = KEYS[7], group = ARGV[3]
}
if state == 'aggregating' then
  -- Not in its group: a worker aggregates it.
  if not in_group(ARGV[3], field[2], id) then return {'active', ''} end
elseif not at[state] then
  return {state, ''}
elseif not redis.call('ZSCORE', at[state], id) then
  return {'', ''}
elseif field[3] and (state == 'archived' or state == 'completed') then
  -- It gave its lock back when it ended.
  local life_s = field[4] or ARGV[5]
  local holder = lock(field[3], id, life_s, ARGV[4])
  if holder then return {state, holder} end
  redis.call('ZADD', KEYS[8], tonumber(string.sub(ARGV[2], 1, -10)) + look_after(life_s), id)
end
redis.call('LPUSH', KEYS[2], id)
leave_place(at, state, field[2], id)
redis.call('HSET', KEYS[1], 'state', 'pending', 'pending_since', ARGV[2])
return {state, ''}
