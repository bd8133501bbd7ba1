-- close_queue: refuse to delete a queue that is in use, or stop it from being claimed before it is emptied.
-- KEYS[1] list active   KEYS[2] zset aggregation_sets   KEYS[3] zset due   KEYS[4] list pending   KEYS[5] zset scheduled
-- KEYS[6] zset retry   KEYS[7] zset archived   KEYS[8] zset completed   KEYS[9] set groups   KEYS[10] string paused
-- KEYS[11] hash pause note
-- ARGV[1] 1 when its waiting tasks are to be deleted too   ARGV[2] int now, Unix s   ARGV[3] string source of the pause
-- Returns: '' (closed), active, schedules or tasks: what it is in use by; nothing is changed then
local waiting = {KEYS[5], KEYS[6], KEYS[7], KEYS[8]}
local found = obstacle(KEYS[1], KEYS[2], KEYS[3], {KEYS[4]}, waiting, KEYS[9])
if found ~= '' and (found ~= 'tasks' or ARGV[1] ~= '1') then return found end
if redis.call('SET', KEYS[10], ARGV[2], 'NX') then
  redis.call('DEL', KEYS[11])
  redis.call('HSET', KEYS[11], 'format', 1, 'since', ARGV[2], 'source', ARGV[3], 'reason', 'the queue is being deleted',
    'actor', '', 'until', '')
end
return ''
