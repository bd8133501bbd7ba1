-- archive_task: give up a task that is not running: it goes to the archive as it is.
-- KEYS[1] hash task   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] set groups   KEYS[8] zset locks
-- ARGV[1] string id   ARGV[2] int now, Unix s   ARGV[3] string group-key prefix
-- ARGV[4] string key of its unique lock by its message, or ''
-- Returns: the state it had; '' when there is no such task. An active task is left as it is, and so is one
-- that is being aggregated: 'active'.
local field = redis.call('HMGET', KEYS[1], 'state', 'group', 'unique_key')
local state = field[1]
if not state then return '' end
if state == 'active' or state == 'archived' then return state end
if state == 'aggregating' and not in_group(ARGV[3], field[2], ARGV[1]) then return 'active' end
redis.call('ZADD', KEYS[5], ARGV[2], ARGV[1])
local at = {pending = KEYS[2], scheduled = KEYS[3], retry = KEYS[4], completed = KEYS[6], groups = KEYS[7], group = ARGV[3]}
leave_place(at, state, field[2], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'archived')
unlock(field[3] or ARGV[4], ARGV[1], KEYS[8])
return state
