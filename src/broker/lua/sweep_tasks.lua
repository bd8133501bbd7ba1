-- sweep_tasks: take the first tasks out of one container, and delete them, archive them, or make them pending.
-- KEYS[1] list pending, or zset scheduled, retry, archived or completed: where they are
-- KEYS[2] list pending   KEYS[3] zset archived   KEYS[4] zset lease
-- ARGV[1] string task-key prefix   ARGV[2] string verb: delete, archive, run   ARGV[3] 1 when KEYS[1] is the list
-- ARGV[4] int tasks at most   ARGV[5] int now, Unix ns   ARGV[6] int moment, Unix ns: what is pending since later stays
-- ARGV[7] string lock-key prefix
-- Returns: array: tasks handled, ids taken out that had no task to handle, 1 when there may be more
local verb, is_list, most = ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local found
if is_list then
  found = redis.call('LRANGE', KEYS[1], -most, -1)
else
  found = redis.call('ZRANGE', KEYS[1], 0, most - 1)
end

local ids, locks, kept, gone = {}, {}, {}, {}
for i = 1, #found do
  -- The oldest of a list is its last.
  local id = is_list and found[#found + 1 - i] or found[i]
  local field = redis.call('HMGET', ARGV[1] .. id, 'state', 'unique_key', 'pending_since')
  if not field[1] or (field[1] == 'active' and redis.call('ZSCORE', KEYS[4], id)) then
    gone[#gone + 1] = id
  elseif is_list and field[3] and tonumber(field[3]) > tonumber(ARGV[6]) then
    table.insert(kept, 1, id)
  else
    ids[#ids + 1] = id
    locks[#ids] = verb ~= 'run' and lock_of(ARGV[1] .. id, field[2], ARGV[7])
  end
end
if #ids + #gone == 0 then return {0, 0, 0} end

enter(verb, ids, KEYS[2], KEYS[3], string.sub(ARGV[5], 1, -10))
if is_list then
  redis.call('RPOP', KEYS[1], #found)
  if #kept > 0 then redis.call('RPUSH', KEYS[1], unpack(kept)) end
else
  redis.call('ZREM', KEYS[1], unpack(found))
end
for i, id in ipairs(ids) do settle(verb, ARGV[1] .. id, id, locks[i], ARGV[5]) end
return {#ids, #gone, #found == most and 1 or 0}
