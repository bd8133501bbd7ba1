-- delete_task: delete a task that is not running.
-- KEYS[1] hash task   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] set groups   KEYS[8] zset aggregation_sets   KEYS[9] zset locks
-- ARGV[1] string id   ARGV[2] string group-key prefix   ARGV[3] string key of its unique lock by its message, or ''
-- Returns: the state it had; '' when there is no such task. One that runs or is being aggregated is left as it
--   is: active
local field = redis.call('HMGET', KEYS[1], 'state', 'group', 'unique_key')
local state = field[1]
if not state then return '' end
if state == 'active' then return state end
if state == 'aggregating' and not in_group(ARGV[2], field[2], ARGV[1]) then
  for _, set in ipairs(redis.call('ZRANGE', KEYS[8], 0, 999)) do
    if redis.call('ZSCORE', set, ARGV[1]) then return 'active' end
  end
end
local at = {
  pending = KEYS[2], scheduled = KEYS[3], retry = KEYS[4], archived = KEYS[5], completed = KEYS[6],
  groups = KEYS[7], group = ARGV[2]
}
leave_place(at, state, field[2] or '', ARGV[1])
-- Go clients write no field for the lock of a task in a group.
unlock(field[3] or ARGV[3], ARGV[1], KEYS[9])
redis.call('UNLINK', KEYS[1])
return state
