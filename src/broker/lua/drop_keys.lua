-- drop_keys: delete keys of a queue that holds nothing.
-- KEYS[1] list active   KEYS[2] zset aggregation_sets   KEYS[3] zset due   KEYS[4] list pending   KEYS[5] zset scheduled
-- KEYS[6] zset retry   KEYS[7] zset archived   KEYS[8] zset completed   KEYS[9] set groups
-- ARGV[1..] string keys of this queue, to be deleted
-- Returns: '' (deleted), active, schedules or tasks: what it holds; nothing is deleted then
-- A queue that somebody uses again keeps all of its keys: a task's hash may be among them.
local waiting = {KEYS[5], KEYS[6], KEYS[7], KEYS[8]}
local found = obstacle(KEYS[1], KEYS[2], KEYS[3], {KEYS[4]}, waiting, KEYS[9])
if found ~= '' then return found end
for i = 1, #ARGV do redis.call('UNLINK', ARGV[i]) end
return ''
