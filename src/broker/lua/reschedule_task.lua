-- reschedule_task: let a task that is not running wait for another time.
-- KEYS[1] hash task   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] set groups   KEYS[8] zset locks
-- ARGV[1] string id   ARGV[2] int due, Unix s   ARGV[3] string group-key prefix   ARGV[4] string task-key prefix
-- ARGV[5] int now, Unix s   ARGV[6] int life of a lock that another program took, s
-- Returns: array: the state it had, '' when there is no such task, an active task is left as it is, and so is one
--   that is being aggregated: 'active'; the id of another task that holds the lock of this one, which had ended
--   (nothing changed), or ''
-- One that waits for a retry goes on waiting for it; any other becomes scheduled.
local field = redis.call('HMGET', KEYS[1], 'state', 'group', 'unique_key', 'cronmill_lock')
local state = field[1]
if not state then return {'', ''} end
if state == 'active' then return {state, ''} end
if state == 'aggregating' and not in_group(ARGV[3], field[2], ARGV[1]) then return {'active', ''} end
-- It gave its lock back when it ended.
if field[3] and field[3] ~= '' and (state == 'archived' or state == 'completed') then
  local life_s = tonumber(field[4] or ARGV[6])
  local wait_s = math.max(0, tonumber(ARGV[2]) - tonumber(ARGV[5]))
  local holder = lock(field[3], ARGV[1], string.format('%d', life_s + wait_s), ARGV[4])
  if holder then return {state, holder} end
  redis.call('ZADD', KEYS[8], tonumber(ARGV[5]) + look_after(life_s), ARGV[1])
end
redis.call('ZADD', state == 'retry' and KEYS[4] or KEYS[3], ARGV[2], ARGV[1])
if state == 'retry' or state == 'scheduled' then return {state, ''} end
local at = {pending = KEYS[2], archived = KEYS[5], completed = KEYS[6], groups = KEYS[7], group = ARGV[3]}
leave_place(at, state, field[2], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'scheduled')
return {state, ''}
